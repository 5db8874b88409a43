"""The page docs/conformance.md is what the suite would write, and no rule is without a case."""

from pathlib import Path

from tests.conformance import report
from tests.conformance.rules import GROUPS, RULES

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "conformance.md"


def test_every_rule_has_a_case():
    cases = "".join(path.read_text() for path in HERE.glob("test_*.py"))

    assert [name for name in RULES if f'"{name}"' not in cases] == []


def test_every_rule_is_in_a_group():
    assert {name[0] for name in RULES} == set(GROUPS)


def test_the_page_is_what_the_suite_writes_today():
    text = PAGE.read_text()

    assert report.page(*report.read(text)) == text


def test_nothing_on_the_page_fails_for_ours():
    _, failures = report.read(PAGE.read_text())

    assert failures["ocicat"] == []


def test_a_page_that_is_written_again_keeps_the_other_plugins(tmp_path):
    page = tmp_path / "page.md"
    verdicts = [
        report.Verdict(("E1",), "it holds", "a", True),
        report.Verdict(("E1", "A4"), "it does not", "b", False),
        report.Verdict((), "it has no rule", "", False),
    ]

    report.write(page, "one", verdicts)
    once = page.read_text()
    report.write(page, "other", verdicts[:1])
    report.write(page, "one", verdicts)

    columns, failures = report.read(page.read_text())
    assert columns == {
        "one": {"E1": "**fails 1 of 2**", "A4": "**fails 1 of 1**"},
        "other": {"E1": "pass 1"},
    }
    assert failures == {"one": ["E1 A4: it does not (`b`)"], "other": []}
    assert report.read(once)[1] == {"one": failures["one"]}
