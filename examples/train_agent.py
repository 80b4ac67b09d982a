"""Train any agent on an edit, here soft actor-critic: python train_agent.py [EPISODES] [TASK]"""

import sys

import gymnasium
from stable_baselines3 import SAC

episodes = int(sys.argv[1]) if len(sys.argv) > 1 else 100
task = sys.argv[2] if len(sys.argv) > 2 else "03-grow"  # or e.g. dev40/00-jump

env = gymnasium.make("sparks.envs:sparks/Retake-v0")
env.reset(options={"task": task})  # for all episodes from here on
agent = SAC("MlpPolicy", env, learning_starts=20, seed=0)
agent.learn(episodes)
observation, _ = env.reset()
action, _ = agent.predict(observation, deterministic=True)
print("what the agent has learnt reaches", env.step(action)[4])
