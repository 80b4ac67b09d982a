"""Train any agent on an edit, here soft actor-critic: python examples/train_agent.py [EPISODES]"""

import sys

import gymnasium
from stable_baselines3 import SAC

env = gymnasium.make("sparks.envs:sparks/Retake-v0")
agent = SAC("MlpPolicy", env, learning_starts=20, seed=0)
agent.learn(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
observation, _ = env.reset()
action, _ = agent.predict(observation, deterministic=True)
print("what the agent has learnt reaches", env.step(action)[4])
