"""One candidate as it was scored, and what of it a critic is shown."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from sparks.search.objective import Losses


@dataclass(frozen=True)
class Watch:
    """What the critic sees of a render.

    Attributes:
        num_frames: frames per window.
        sampling: how the first window's frames are chosen; see `sparks.critics.sampling`.
        windows: critic calls per render, of which all but the first see a random stretch.
        start: first frame that a contiguous window may begin at.
    """

    num_frames: int = 8
    sampling: str = "linspace"
    windows: int = 1
    start: int = 0


@dataclass(frozen=True)
class Evaluation:
    """One candidate as it was scored.

    Attributes:
        index: position in the search's history.
        z: `[k]` float32.
        losses: weighted terms and their total.
        p_yes: mean over the critic's windows.
        gradient: `[k]` of the total with respect to z, if asked for.
        frames: `[T, 3, H, W]`, if asked for.
        seed: of the render's noise.
        late: it ended after the seconds were over, so it cannot be the best.
        batch: index of the first candidate of its batch, on which random windows depend.
        cost: what the meter showed afterwards; depends on clock and machine.
    """

    index: int
    z: Tensor
    losses: Losses
    p_yes: float
    seed: int
    gradient: Tensor | None = None
    frames: Tensor | None = None
    late: bool = False
    batch: int = 0
    cost: Mapping[str, float] = field(default_factory=dict)

    @property
    def total(self) -> float:
        """The loss."""
        return self.losses.total

    @property
    def finite(self) -> bool:
        """Whether the loss, and the gradient if there is one, can be used."""
        whole = self.gradient is None or bool(self.gradient.isfinite().all())
        return math.isfinite(self.total) and whole

    @property
    def z_sha256(self) -> str:
        """Fingerprint of `z`."""
        return z_sha256(self.z)


def z_sha256(z: Tensor) -> str:
    """Fingerprint of a candidate's numbers (float32, little endian)."""
    return hashlib.sha256(z.detach().cpu().numpy().astype("<f4").tobytes()).hexdigest()
