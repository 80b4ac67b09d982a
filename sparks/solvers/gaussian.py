"""The policy of `ppo`: a Gaussian over z that looks at nothing."""

from typing import Any

import torch
from stable_baselines3.common.distributions import DiagGaussianDistribution, Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

FARTHEST = 20.0  # largest log of a ratio, as in the paper's code: beyond it exp overflows


class GaussianPolicy(ActorCriticPolicy):
    """Mean and log of the standard deviation of each coordinate are its only parameters.

    The mean starts at 0. The value of every state is 0: advantages are rewards, which the learner
    centres and scales within each batch.
    """

    action_dist: DiagGaussianDistribution

    def _build(self, lr_schedule: Any) -> None:
        size = self.action_dist.action_dim
        self.mean = nn.Parameter(torch.zeros(size))
        self.log_std = nn.Parameter(torch.full((size,), float(self.log_std_init)))
        self.optimizer = self.optimizer_class(
            self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )

    def forward(self, obs: Tensor, deterministic: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Actions `[B, k]`, values `[B, 1]` and summed log-probabilities `[B]`."""
        distribution = self.get_distribution(obs)
        actions = distribution.get_actions(deterministic=deterministic)
        self._drawn_from = self.parameters_now()
        return actions, self.predict_values(obs), distribution.log_prob(actions)

    def evaluate_actions(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor, None]:
        """Values `[B, 1]` and log-probabilities `[B]`, at most 20 from when they were drawn."""
        before = self._gaussian(len(obs), *self._drawn_from).log_prob(actions)
        now = self.get_distribution(obs).log_prob(actions)
        return self.predict_values(obs), before + (now - before).clamp(-FARTHEST, FARTHEST), None

    def get_distribution(self, obs: Tensor) -> Distribution:
        """The same Gaussian for each of B observations."""
        return self._gaussian(len(obs), self.mean, self.log_std)

    def parameters_now(self) -> tuple[Tensor, Tensor]:
        """Copies of mean `[k]` and log of the standard deviation `[k]`."""
        return self.mean.detach().clone(), self.log_std.detach().clone()

    def predict_values(self, obs: Tensor) -> Tensor:
        """Zeros `[B, 1]`."""
        return torch.zeros(len(obs), 1, device=self.mean.device)

    def _gaussian(self, count: int, mean: Tensor, log_std: Tensor) -> Distribution:
        return self.action_dist.proba_distribution(mean.expand(count, -1), log_std)
