"""Who held which address from when to when: the answer to a question about the history.

Pure: no I/O.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

from datamodel.attachment import Attachment, Pod
from datamodel.block import Address
from ipamd.history import HELD, Event


@dataclass(frozen=True, slots=True)
class Holding:
    """An address that was held for a time."""

    address: Address
    handle_id: str | None
    pod: Pod | None
    node: str | None
    start: float | None  # Unix time; None: nobody knows
    end: float | None  # None: still held


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose holdings are asked for: exactly one of these is given."""

    address: Address | None = None
    pod: Pod | None = None
    container_id: str | None = None
    handle_id: str | None = None

    @property
    def needle(self) -> bytes:
        """What every line about them contains: spares reading the others."""
        if self.address is not None:
            return f'"{self.address}/'.encode()
        if self.pod is not None:
            return json.dumps(str(self.pod)).encode()
        if self.handle_id is not None:
            return json.dumps(self.handle_id).encode()
        return json.dumps(self.container_id)[1:-1].encode()

    def fits(self, event: Event) -> bool:
        """Whether an event is about them."""
        if self.address is not None:
            return event.address == self.address
        if self.pod is not None:
            return event.pod == self.pod
        if self.handle_id is not None:
            return event.handle_id == self.handle_id
        attachment = Attachment.of_handle(event.handle_id or "")
        return attachment is not None and attachment.container_id == self.container_id


def still_held(events: Iterable[Event]) -> dict[Address, Event]:
    """The events, in the order of writing, with which what is still held began."""
    held: dict[Address, Event] = {}
    for event in events:
        held.pop(event.address, None)
        if event.kind == HELD:
            held[event.address] = event
    return held


def holdings(events: Iterable[Event]) -> list[Holding]:
    """Pair begin and end of what *events*, in the order of writing, tell; oldest begin first.

    What was written twice counts once. A begin without an end ends when the next one begins.
    """
    found: dict[tuple[Address, int, str | None, float | None], Holding] = {}
    open_now: dict[Address, tuple[Address, int, str | None, float | None]] = {}
    for event in events:
        start = event.at if event.kind == HELD else event.since
        key = (event.address, event.sequence, event.handle_id, start)
        before = open_now.pop(event.address, None)
        if before is not None and before != key:
            found[before] = replace(found[before], end=_end(found[before], event.at))
        end = None
        if event.kind == HELD:
            open_now[event.address] = key
        else:
            end = max(event.at or 0.0, start or 0.0)  # the clock may have been set back
        found[key] = Holding(event.address, event.handle_id, event.pod, event.node, start, end)
    return sorted(found.values(), key=lambda holding: holding.start or 0.0)


def _end(holding: Holding, next_at: float | None) -> float:
    return max(next_at or 0.0, holding.start or 0.0)
