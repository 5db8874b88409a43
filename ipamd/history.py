"""What happened to addresses: the differences of a block's states, and lines of a file for them.

Pure: no I/O. ``historian.py`` collects the states and has the lines written; ``holdings.py`` makes
answers of them.
"""

import ipaddress
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from datamodel.attachment import Pod
from datamodel.block import Address, Attribute, Block
from datamodel.gotime import parse_go_time
from datamodel.pool import Network

HELD, RELEASED = "held", "released"


@dataclass(frozen=True, slots=True)
class Event:
    """An address began to be held, or ceased to be."""

    kind: str  # HELD or RELEASED
    address: Address
    block: Network
    handle_id: str | None
    pod: Pod | None
    node: str | None
    sequence: int  # of the allocation: tells this holding from the handle's next one
    at: float | None  # Unix time; None: nobody knows
    since: float | None = None  # of a release: when the holding began
    # When it was noticed, if that may have been much later; a release was then at the latest *at*.
    seen: float | None = None

    @property
    def ordinal(self) -> int:
        """Where the address is in its block."""
        return int(self.address) - int(self.block.network_address)


# What is believed to be held in one block: ordinal -> the event with which it began.
Held = Mapping[int, Event]


@dataclass(frozen=True, slots=True)
class Moment:
    """When, and by whom, a state of a block was noticed."""

    node: str
    now: float
    is_late: bool = False  # what the state tells may have happened long before


# ---- from states to events ---------------------------------------------------------------------


def changes(before: Held, after: Block | None, moment: Moment) -> list[Event]:
    """Tell what happened to a block of which *before* was believed; ``None``: it was deleted.

    A holding is known by handle and sequence number. One begins for us if it is in a block of this
    node or for a pod of this node: a foreign block is followed for what the node borrowed of it.
    """
    if after is None:
        return [_ended(held, None, moment) for held in before.values()]
    ended, begun = [], []
    numbers, is_ours = after.sequence_numbers, after.host == moment.node
    for ordinal, index in enumerate(after.allocations):
        held = before.get(ordinal)
        there = None if index is None else after.attributes[index]
        holder = None if there is None or there.released_at is not None else there
        if held is not None:
            number = numbers.get(ordinal, 0)
            if holder and holder.handle_id == held.handle_id and number == held.sequence:
                continue
            ended.append(_ended(held, there, moment))
        if holder and (is_ours or holder.node == moment.node):
            begun.append(_begun(after, ordinal, holder, moment))
    return ended + begun


def following(before: Held, events: Iterable[Event]) -> dict[int, Event]:
    """What is held after *events*."""
    held = dict(before)
    for event in events:
        held.pop(event.ordinal, None)
        if event.kind == HELD:
            held[event.ordinal] = event
    return held


def _begun(block: Block, ordinal: int, holder: Attribute, moment: Moment) -> Event:
    at = _began(holder, moment)
    if at is None and not moment.is_late:
        at = moment.now
    return Event(
        kind=HELD,
        address=block.address(ordinal),
        block=block.cidr,
        handle_id=holder.handle_id,
        pod=holder.pod,
        node=holder.node,
        sequence=block.sequence_numbers.get(ordinal, 0),
        at=at,
        seen=moment.now if moment.is_late else None,
    )


def _began(holder: Attribute, moment: Moment) -> float | None:
    """When the holder got the address by its own word; never later than now."""
    time = parse_go_time((holder.secondary or {}).get("timestamp", ""))
    seconds = time.timestamp() if time else 0.0
    return min(seconds, moment.now) if seconds > 0 else None


def _ended(held: Event, now_there: Attribute | None, moment: Moment) -> Event:
    """The end of a holding: at the latest when the next one began."""
    end: float | None = None
    if now_there and now_there.released_at:
        # In whole seconds, so it is of use only if what we have is worse.
        end = now_there.released_at.timestamp() if moment.is_late else None
    elif now_there:
        end = _began(now_there, moment)
    is_possible = end is not None and (held.at or 0.0) <= end <= moment.now
    return replace(
        held,
        kind=RELEASED,
        at=end if is_possible else moment.now,
        since=held.at,
        seen=moment.now if moment.is_late else None,
    )


# ---- lines -------------------------------------------------------------------------------------


def line_of(event: Event) -> bytes:
    """Write an event: short JSON that starts with the time, ends with a newline."""
    fields: dict[str, Any] = {
        "at": _milliseconds(event.at),
        # As an interface is written: the address, and of which block it is.
        event.kind: f"{event.address}/{event.block.prefixlen}",
        "since": _milliseconds(event.since) if event.kind == RELEASED else None,
        "seen": _milliseconds(event.seen),
        "handle": event.handle_id,
        "pod": str(event.pod) if event.pod else None,
        "node": event.node,
        "seq": event.sequence,
    }
    present = {name: value for name, value in fields.items() if value is not None}
    return json.dumps(present, separators=(",", ":")).encode() + b"\n"


def event_of(line: bytes) -> Event | None:
    """Read a line back; ``None`` if it is torn or spoilt."""
    try:
        fields = json.loads(line)
        kind = HELD if HELD in fields else RELEASED
        address, block = _interface(fields[kind])
        pod = fields.get("pod")
        return Event(
            kind=kind,
            address=address,
            block=block,
            handle_id=_text(fields.get("handle")),
            pod=Pod(*_text(pod).split("/", 1)) if pod else None,
            node=_text(fields.get("node")),
            sequence=int(fields["seq"]),
            at=_time(fields.get("at")),
            since=_time(fields.get("since")),
            seen=_time(fields.get("seen")),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


@lru_cache(maxsize=16_384)
def _interface(text: str) -> tuple[Address, Network]:
    interface = ipaddress.ip_interface(text)
    return interface.ip, interface.network


def _milliseconds(time: float | None) -> float | None:
    return None if time is None else round(time, 3)


def _text(value: Any) -> Any:
    """A string or nothing.

    Raises:
        TypeError: it is something else.
    """
    if value is not None and not isinstance(value, str):
        raise TypeError
    return value


def _time(value: Any) -> float | None:
    if value is None:
        return None
    if not math.isfinite(value):
        raise ValueError
    return float(value)
