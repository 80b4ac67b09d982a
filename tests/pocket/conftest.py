import pytest

from sparks.editors import LTX2Editor
from sparks.pocket import weights_path, world
from sparks.pocket.words import ACTIONS
from sparks.pocket.world import Scenes

SEED = 555_555  # no training stage draws from it


@pytest.fixture(scope="session", params=ACTIONS)
def acting(request: pytest.FixtureRequest) -> Scenes:
    """Held-out scenes in which the same thing happens."""
    return world.draw(8, SEED).acting(request.param)


@pytest.fixture(scope="session")
def editor() -> LTX2Editor:
    """The editor with the bundled weights."""
    return LTX2Editor(weights_path(), device="cpu")
