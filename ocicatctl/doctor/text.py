"""What the doctor found, as text and as a document.

Pure: no I/O.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from ocicatctl.doctor.check import GROUPS, Check, Checked
from ocicatctl.doctor.finding import Finding, Fine, Wrong


def status_of(finding: Finding) -> str:
    """In one word: fine, warning, wrong or unknown."""
    if isinstance(finding, Wrong):
        return "warning" if finding.is_warning else "wrong"
    return "fine" if isinstance(finding, Fine) else "unknown"


_MARKS = {"fine": "ok", "warning": "warn", "wrong": "WRONG", "unknown": "?"}


def count(checked: Sequence[Checked], status: str) -> int:
    """How many findings are so."""
    return sum(status_of(finding) == status for one in checked for finding in one.findings)


def as_text(checked: Sequence[Checked], *, is_brief: bool = False) -> str:
    """By group: a line for each finding, and below what is wrong why, and the command.

    *is_brief*: without what is fine.
    """
    lines: list[str] = []
    for group in GROUPS:
        of_group = [
            line for one in checked if one.check.group == group for line in _lines(one, is_brief)
        ]
        lines += [group, *of_group, ""] if of_group else []
    return "".join(f"{_printable(line)}\n" for line in [*lines, summary(checked)])


def _lines(one: Checked, is_brief: bool) -> Iterator[str]:
    for finding in one.findings:
        status = status_of(finding)
        if is_brief and status == "fine":
            continue
        yield f"  {_MARKS[status]:<5} {one.check.name:<17} {finding.what}"
        if isinstance(finding, Wrong):
            yield f"{'':26}{finding.why}"
            yield f"{'':26}$ {finding.mend}"


def summary(checked: Sequence[Checked]) -> str:
    """One line about all of it."""
    wrong, warning, fine, unknown = (
        count(checked, status) for status in ("wrong", "warning", "fine", "unknown")
    )
    return f"{wrong} wrong, {warning} to be warned of, {unknown} not looked at, {fine} fine"


def document(checked: Sequence[Checked], node: str) -> dict[str, Any]:
    """The same for programs."""
    return {
        "node": node,
        "wrong": count(checked, "wrong"),
        "warnings": count(checked, "warning"),
        "unknown": count(checked, "unknown"),
        "findings": [
            {
                "check": one.check.name,
                "group": one.check.group,
                "status": status_of(finding),
                "what": finding.what,
                "why": finding.why if isinstance(finding, Wrong) else None,
                "mend": finding.mend if isinstance(finding, Wrong) else None,
            }
            for one in checked
            for finding in one.findings
        ],
    }


def list_text(checks: Sequence[Check]) -> str:
    """Every check with what it looks at."""
    return "".join(f"{check.name:<17} {check.what}\n" for check in checks)


def _printable(text: str) -> str:
    """What somebody wrote into etcd or a file may have anything in it."""
    return "".join(c if c.isprintable() else " " for c in text)
