"""What the route distributor says of itself in a small file, for the operator's eyes.

Pure: no I/O. The distributor writes the text, ``ocicatctl node status`` reads it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from datamodel.errors import Invalid


@dataclass(frozen=True, slots=True)
class PartStatus:
    """How one part of routing ("bird", "nat") is doing."""

    error: str = ""  # why the last attempt failed; empty: it did not
    applied_at: datetime | None = None  # when an attempt last succeeded


@dataclass(frozen=True, slots=True)
class RoutingStatus:
    """How routing on a node is doing."""

    problems: tuple[str, ...] = ()  # what was left out, and why; everything else is done
    parts: Mapping[str, PartStatus] = field(default_factory=dict)  # by name

    @property
    def complaints(self) -> tuple[str, ...]:
        """All that is wrong, each once."""
        errors = [part.error for part in self.parts.values() if part.error]
        return tuple(dict.fromkeys([*self.problems, *errors]))

    def as_text(self) -> str:
        """Write it down as JSON."""
        parts = {
            name: {
                "ok": not part.error,
                "error": part.error,
                "lastApplied": part.applied_at and part.applied_at.isoformat(timespec="seconds"),
            }
            for name, part in sorted(self.parts.items())
        }
        return json.dumps({"problems": list(self.problems), "parts": parts}, indent=2) + "\n"


def parse_routing_status(text: str) -> RoutingStatus:
    """Read what ``as_text`` wrote.

    Raises:
        Invalid: it is something else.
    """
    try:
        document = json.loads(text)
        parts = {
            str(name): PartStatus(
                error=str(part["error"]),
                applied_at=part["lastApplied"] and datetime.fromisoformat(part["lastApplied"]),
            )
            for name, part in document["parts"].items()
        }
        return RoutingStatus(tuple(map(str, document["problems"])), parts)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Invalid("routing status: the file cannot be read; delete it") from error
