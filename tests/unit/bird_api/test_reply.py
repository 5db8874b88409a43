import pytest

from bird_api.reply import Reply, parse_line
from datamodel.errors import Invalid


@pytest.mark.parametrize(
    ("line", "previous", "expected"),
    [
        ("0003 Reconfigured", None, (Reply(3, "Reconfigured"), True)),
        ("0000 ", None, (Reply(0, ""), True)),
        ("2002-Name Proto", None, (Reply(2002, "Name Proto"), False)),
        (" kernel1 Kernel", Reply(1002, "x"), (Reply(1002, "kernel1 Kernel"), False)),
        ("8002 a.conf:3:1 syntax error", None, (Reply(8002, "a.conf:3:1 syntax error"), True)),
        ("+2026-11-20 <INFO> Started", Reply(1002, "x"), (None, False)),
    ],
)
def test_a_line_is_read_with_its_code(line, previous, expected):
    assert parse_line(line, previous) == expected


@pytest.mark.parametrize("line", ["", "HTTP/1.1 400 Bad Request", " first line", "00a3 x", "0003"])
def test_what_is_no_reply_of_bird_is_named(line):
    with pytest.raises(Invalid, match="not a reply of BIRD"):
        parse_line(line, None)
