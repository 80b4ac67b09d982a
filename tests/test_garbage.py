"""No garbage is looked for while much is loaded, and none of it is lost for that."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from sparks.garbage import no_collection


class Knot:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    gc.enable()


def test_what_was_dropped_inside_goes_with_the_next_look_afterwards() -> None:
    with no_collection():
        knot = weakref.ref(Knot())
        for _ in range(10_000):
            Knot()
        assert knot() is not None
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    gc.collect()
    assert knot() is None


def test_what_stays_is_not_gone_through_as_if_it_were_new() -> None:
    gc.collect()
    with no_collection():
        many = [[each] for each in range(100_000)]
    assert len(gc.get_objects(generation=0)) < len(many)


def test_who_wants_none_at_all_keeps_it_so() -> None:
    gc.disable()
    with pytest.raises(KeyError), no_collection():
        raise KeyError
    assert not gc.isenabled()
