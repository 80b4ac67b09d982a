"""Actions that are none leave an episode as it was."""

import numpy as np
import pytest

from sparks.errors import SparksError
from sparks.solvers.episodes import Episodes
from tests import toy


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_action_that_is_no_number_is_refused(value: float) -> None:
    episodes = Episodes(1, toy.problem("renders=3"), steps=3)
    action = np.zeros_like(episodes.z)
    action[0, 0] = value
    with pytest.raises(SparksError, match="no numbers"):
        episodes.advance(action)
    assert episodes.step == 0
    assert np.isfinite(episodes.advance(np.zeros_like(action))[1][0].total)


def test_an_action_of_another_shape_is_refused() -> None:
    with pytest.raises(SparksError, match="actions have shape"):
        Episodes(2, toy.problem("renders=3")).advance(np.zeros((1, 3)))
