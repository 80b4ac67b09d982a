import json
from collections.abc import Iterator

import pytest

from sparks.envs import building
from sparks.search.problem import EditProblem
from sparks.settings.yaml import Settings


@pytest.fixture(scope="package", autouse=True)
def loaded_once() -> Iterator[None]:
    """Environments of equal settings share a problem, so that the models are loaded once."""
    loaded: dict[str, EditProblem] = {}
    build = building.build

    def shared(settings: Settings) -> EditProblem:
        key = json.dumps(settings, sort_keys=True)
        if key not in loaded:
            loaded[key] = build(settings)
        return loaded[key]

    building.build = shared
    yield
    building.build = build
