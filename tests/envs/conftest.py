from collections.abc import Iterator

import pytest

from sparks.envs import building
from sparks.runs.cache import Cache


@pytest.fixture(scope="package", autouse=True)
def loaded_once() -> Iterator[None]:
    """Environments share what they load."""
    cache = Cache()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "Cache", lambda: cache)
        yield
