"""Frozen judges of a video: how likely is the answer "yes"?"""

from sparks.critics.base import Critic

__all__ = ["Critic"]
