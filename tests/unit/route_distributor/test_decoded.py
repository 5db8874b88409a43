from datamodel.errors import Invalid
from datastore.store import Entry
from route_distributor.decoded import Decoded


class Reader:
    """Decodes texts of digits, and remembers how often."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, key: str, value: bytes) -> int:
        self.seen.append(key)
        if not value.isdigit():
            raise Invalid(f"{key}: is no number")
        return int(value)


def entries(**values: str) -> dict[str, Entry]:
    return {f"/n/{k}": Entry(f"/n/{k}", v.encode(), 1) for k, v in values.items()}


def test_values_come_by_name_in_order_and_what_is_refused_is_left_out():
    skipped: list[str] = []
    other = {"/m/x": Entry("/m/x", b"9", 1)}

    found = Decoded().below({**entries(b="2", c="?", a="1"), **other}, "/n/", Reader(), skipped)

    assert list(found.items()) == [("a", 1), ("b", 2)]
    assert skipped == ["/n/c: is no number"]


def test_only_what_changed_is_decoded_again():
    decoded, reader = Decoded(), Reader()
    decoded.below(entries(a="1", b="2", c="?"), "/n/", reader, [])
    reader.seen.clear()
    skipped: list[str] = []

    found = decoded.below(entries(a="1", b="3", c="?", d="4"), "/n/", reader, skipped)

    assert found == {"a": 1, "b": 3, "d": 4}
    assert skipped == ["/n/c: is no number"]
    assert reader.seen == ["/n/b", "/n/d"]


def test_what_is_gone_is_forgotten():
    decoded, reader = Decoded(), Reader()
    decoded.below(entries(a="1"), "/n/", reader, [])

    assert decoded.below({}, "/n/", reader, []) == {}
    decoded.below(entries(a="1"), "/n/", reader, [])
    assert reader.seen == ["/n/a", "/n/a"]
