import pytest

from ocicatctl.resources import values
from ocicatctl.resources.schema import Field, anything, leaf, list_of, object_of, shown

CHECK = object_of(
    Field("name", leaf(values.text), is_required=True),
    Field("isOn", leaf(values.flag)),
    Field("isSet", leaf(values.flag), keeps_empty=True),
    Field("sizes", list_of(leaf(values.number(1, 9)))),
    Field("inner", object_of(Field("text", leaf(values.text)))),
)


def run(value):
    mistakes: list[str] = []
    return CHECK(value, "spec", mistakes), mistakes


def test_fields_are_stored_in_the_order_of_the_table_and_empty_ones_left_out():
    stored, mistakes = run({"inner": {}, "sizes": [2], "isSet": False, "isOn": False, "name": "a"})

    assert mistakes == []
    assert list(stored.items()) == [("name", "a"), ("isSet", False), ("sizes", [2])]


def test_null_is_the_same_as_nothing():
    assert run({"name": "a", "isSet": None}) == ({"name": "a"}, [])


def test_every_mistake_is_told_with_its_path():
    _, mistakes = run({"isOn": 1, "sizes": [3, 10, "x"], "inner": {"text": 5}, "other": 1})

    assert mistakes == [
        'spec: unknown field "other"; there are name, isOn, isSet, sizes, inner',
        "spec.name: is missing",
        "spec.isOn: 1 is neither true nor false",
        "spec.sizes[1]: 10 is not in 1..9",
        "spec.sizes[2]: 'x' is not a whole number",
        "spec.inner.text: 5 is not text; put it in quotes",
    ]


@pytest.mark.parametrize("typed", ["size", "Sizes", "sises"])
def test_a_mistyped_field_is_guessed(typed):
    _, mistakes = run({"name": "a", typed: [1]})

    assert mistakes == [f'spec: unknown field "{typed}"; did you mean "sizes"?']


@pytest.mark.parametrize("value", [[], "text", 5, None])
def test_something_else_than_an_object_is_told(value):
    _, mistakes = run(value)

    assert mistakes == [f"spec: {value!r} is not an object with fields"]


def test_something_else_than_a_list_is_told():
    assert run({"name": "a", "sizes": 5})[1] == ["spec.sizes: 5 is not a list"]


def test_a_long_value_is_cut_in_messages():
    assert len(shown("x" * 1000)) == 60


def test_what_cannot_be_stored_is_refused_wherever_it_is():
    around: list[object] = []
    around.append(around)
    mistakes: list[str] = []

    anything({"a": around}, "spec", mistakes)
    anything({1: 2}, "spec", mistakes)
    anything({"a": [1, None, "x", True]}, "spec", mistakes)

    assert len(mistakes) == 2
    assert "cannot be written as JSON" in mistakes[0]
