"""Read a block even if its parts contradict each other, and say what it would be if they did not.

Pure: no I/O. The rules are those by which calicoctl validates a block; ``datastore/codec.py``
takes only blocks that keep the ones about the queue and the indices.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from datamodel.block import Block
from datamodel.errors import Invalid
from datastore import codec, keys


@dataclass(frozen=True, slots=True)
class ReadBlock:
    """A block, what is wrong with the way it is stored, and whether it can be written rightly."""

    block: Block  # with its queue and its attributes in order
    mistakes: tuple[str, ...] = ()
    is_sound: bool = True  # False: nobody can say who holds some of its addresses, or since when


def read_block(key: str, value: bytes, now: datetime) -> ReadBlock:
    """Read a block leniently.

    Queue and attributes follow from the allocations; that they are wrong hides nothing.

    Raises:
        Invalid: nothing can be said about its addresses.
    """
    try:
        block = codec.decode_block(key, value)
    except Invalid as refusal:
        read = _mended(key, codec.load(key, value), refusal)
    else:
        read = ReadBlock(block)
    if keys.block(read.block.cidr) != key:
        raise Invalid(f"etcd key {key}: is not spelled as a block's key")
    return _without_strays(read, now)


def _mended(key: str, document: codec.Document, refusal: Invalid) -> ReadBlock:
    """The block as its allocations say that it is; raises *refusal* if that is no block either."""
    allocations, queue, attributes = (
        _list(document, name, refusal) for name in ("allocations", "unallocated", "attributes")
    )
    if not all(_is_int(index) for index in allocations if index is not None):
        raise refusal
    unknown = [
        (o, i) for o, i in enumerate(allocations) if i is not None and not 0 <= i < len(attributes)
    ]
    # Of these addresses nothing is known but that somebody holds them.
    nobody = {"handle_id": None, "secondary": None}
    free = [o for o, index in enumerate(allocations) if index is None]
    places = dict(unknown)
    mended = {
        **document,
        "allocations": [len(attributes) if o in places else i for o, i in enumerate(allocations)],
        "unallocated": _in_order(queue, free),
        "attributes": [*attributes, *([nobody] if unknown else [])],
    }
    try:
        block = codec.decode_block(key, codec.dump(mended))
    except Invalid:
        raise refusal from None
    mistakes = (
        *(f"allocation {o} indexes attribute {i}, which is not there" for o, i in unknown),
        *_queue_mistakes(queue, set(free), len(allocations)),
    )
    return ReadBlock(block, mistakes, is_sound=not unknown)


def _list(document: codec.Document, name: str, refusal: Invalid) -> list[Any]:
    value = document.get(name)
    if not isinstance(value, list | None):
        raise refusal
    return value or []


def _is_int(value: Any) -> bool:
    return type(value) is int


def _in_order(queue: list[Any], free: list[int]) -> list[int]:
    """The free ordinals: first those that are queued, as they are, then those that are missing."""
    left = set(free)
    kept = []
    for ordinal in queue:
        if _is_int(ordinal) and ordinal in left:
            left.discard(ordinal)
            kept.append(ordinal)
    return kept + sorted(left)


def _queue_mistakes(queue: list[Any], free: set[int], size: int) -> Iterator[str]:
    counts = Counter(str(ordinal) for ordinal in queue)
    queued = {ordinal for ordinal in queue if _is_int(ordinal)}
    if strange := [o for o in queue if not _is_int(o) or not 0 <= o < size]:
        yield f"the queue has {_some(strange)}, out of the block"
    if twice := [o for o in sorted(queued) if counts[str(o)] > 1]:
        yield f"the queue has {_some(twice)} more than once"
    if held := sorted(o for o in queued - free if 0 <= o < size):
        yield f"{_some(held)} is allocated but in the queue"
    if missing := sorted(free - queued):
        yield f"{_some(missing)} is neither allocated nor in the queue"


def _some(ordinals: list[Any]) -> str:
    shown = ", ".join(str(o) for o in ordinals[:5])
    return f"ordinal {shown}" + (f" and {len(ordinals) - 5} more" if ordinals[5:] else "")


def _without_strays(read: ReadBlock, now: datetime) -> ReadBlock:
    """Name, and leave out, attributes that no allocation names; name times that have not come."""
    block = read.block
    used = sorted({index for index in block.allocations if index is not None})
    early = [i for i in used if (at := block.attributes[i].released_at) is not None and at > now]
    mistakes = [
        *(f"attribute {i} is indexed by no allocation" for i in _missing(used, block)),
        *(f"attribute {i} has releasedAt in the future; compare the clocks" for i in early),
    ]
    if not mistakes:
        return read
    moved = {old: new for new, old in enumerate(used)}
    return ReadBlock(
        replace(
            block,
            allocations=tuple(None if i is None else moved[i] for i in block.allocations),
            attributes=tuple(block.attributes[i] for i in used),
        ),
        (*read.mistakes, *mistakes),
        read.is_sound and not early,
    )


def _missing(used: list[int], block: Block) -> list[int]:
    return sorted(set(range(len(block.attributes))).difference(used))
