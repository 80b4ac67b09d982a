"""The edit as a Gymnasium environment; importing this package registers `sparks/Retake-v0`."""

from gymnasium.envs.registration import register

register(
    id="sparks/Retake-v0",
    entry_point="sparks.envs.retake:RetakeEnv",
    vector_entry_point="sparks.envs.vector:RetakeVectorEnv",
)
