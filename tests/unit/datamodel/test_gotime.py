import pytest

from datamodel.gotime import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("120s", 120),
        ("2m0s", 120),
        ("1m30s", 90),
        ("1h0m0.5s", 3600.5),
        ("1.5m", 90),
        ("250ms", 0.25),
        ("1000000us", 1),
        ("1000000µs", 1),
        ("3000000000ns", 3),
    ],
)
def test_a_duration_is_read_as_go_does(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "90", "-1s", "1 s", "s", "1m 30s", "1d", "1s\n", f"{'9' * 400}h"]
)
def test_what_go_would_not_read_is_no_duration(text):
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)
