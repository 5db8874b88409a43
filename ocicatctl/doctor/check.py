"""A check, and how all of them are run.

Pure: no I/O.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ocicatctl.doctor.facts import Facts, NotSeen
from ocicatctl.doctor.finding import Finding, Unknown

RUNTIME, HOST, NETWORK, ETCD, DAEMONS, CLUSTER = GROUPS = (
    "Container runtime",
    "Host",
    "Kernel's network",
    "etcd",
    "Daemons",
    "Kernel, BIRD and etcd",
)


@dataclass(frozen=True, slots=True)
class Check:
    """One check."""

    name: str
    group: str
    what: str
    why: str
    judge: Callable[[Facts], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Checked:
    """A check and what it found."""

    check: Check
    findings: tuple[Finding, ...]


def run(checks: Iterable[Check], facts: Facts) -> list[Checked]:
    """Judge everything; a check that cannot is unknown, and never the end of the others."""
    return [Checked(check, tuple(_findings(check, facts))) for check in checks]


def _findings(check: Check, facts: Facts) -> Iterator[Finding]:
    try:
        yield from check.judge(facts)
    except NotSeen as error:
        yield Unknown(f"not looked at: {error}")
    except Exception as error:  # noqa: BLE001 - no check may end the others
        yield Unknown(f"the check failed: {type(error).__name__}: {error}")
