from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodel.errors import Invalid
from datamodel.routing_status import PartStatus, RoutingStatus, parse_routing_status

STATUS = st.builds(
    RoutingStatus,
    st.lists(st.text()).map(tuple),
    st.dictionaries(
        st.text(),
        st.builds(
            PartStatus,
            st.text(),
            st.none()
            | st.datetimes(timezones=st.just(UTC)).map(lambda d: d.replace(microsecond=0)),
        ),
    ),
)


@given(STATUS)
def test_what_is_written_is_read_back(status):
    assert parse_routing_status(status.as_text()) == status


def test_everything_wrong_is_named_once():
    status = RoutingStatus(
        ("a: x", "b: y"), {"bird": PartStatus("a: x"), "nat": PartStatus("c: z"), "o": PartStatus()}
    )

    assert status.complaints == ("a: x", "b: y", "c: z")


def test_it_reads_well():
    status = RoutingStatus(("a: x",), {"nat": PartStatus("", datetime(2026, 11, 20, tzinfo=UTC))})

    assert status.as_text() == (
        "{\n"
        '  "problems": [\n    "a: x"\n  ],\n'
        '  "parts": {\n'
        '    "nat": {\n'
        '      "ok": true,\n'
        '      "error": "",\n'
        '      "lastApplied": "2026-11-20T00:00:00+00:00"\n'
        "    }\n  }\n}\n"
    )


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"problems": 1, "parts": {}}', '{"problems": [], "parts": {"a": {}}}'],
)
def test_what_is_something_else_is_refused(text):
    with pytest.raises(Invalid, match="routing status: the file cannot be read"):
        parse_routing_status(text)
