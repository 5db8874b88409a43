import inspect

import pytest

from datamodel import errors
from datamodel.errors import Exhausted, Invalid, OcicatError, Unavailable, Unsupported

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


def test_these_are_all_errors():
    assert set(CLASSES) == {OcicatError, Invalid, Exhausted, Unavailable, Unsupported}


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_says_what_it_was_made_with(kind):
    assert str(kind("pool default: is full; add a pool")) == "pool default: is full; add a pool"


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_can_be_caught_as_ours(kind):
    with pytest.raises(OcicatError):
        raise kind("x")


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind is not OcicatError])
def test_no_error_is_caught_as_another_one(kind):
    others = tuple(k for k in CLASSES if k not in (kind, OcicatError))

    assert not issubclass(kind, others)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_says_when_it_is_raised(kind):
    assert kind.__doc__
