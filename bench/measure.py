"""Calls both sides alternately, one call after the other and many at once.

Story. The side that goes first changes every time, so that neither always meets what the other has
left the machine to do.
"""

import time
from collections.abc import Callable, Sequence

from bench.execute import Ends
from bench.side import Side
from bench.stats import Row

WARM_UP_CALLS = 10
SETTLE_S = 0.3  # between bursts: what one leaves to do is not measured with the next

Say = Callable[[str], None]
Times = dict[str, list[float]]  # by side


def sequential(sides: Sequence[Side], count: int, say: Say) -> list[Row]:
    """One call after the other, the two sides in turn: every ADD, then every DEL."""
    say("warm-up")
    _in_turn(sides, min(WARM_UP_CALLS, count))
    say(f"{count} calls one after the other")
    adds, deletes = _in_turn(sides, count)
    return [
        Row("sequential ADD", adds["ours"], adds["theirs"], "seq_add_ratio"),
        Row("sequential DEL", deletes["ours"], deletes["theirs"], "seq_del_ratio"),
    ]


def _in_turn(sides: Sequence[Side], count: int) -> tuple[Times, Times]:
    adds, deletes = ({side.name: list[float]() for side in sides} for _ in range(2))
    for i in range(count):
        for side in _order(sides, i):
            adds[side.name].append(side.add([side.containers[i]]).ended[0].took_s)
    for i in range(count):
        for side in _order(sides, i):
            deletes[side.name].append(side.delete([side.containers[i]]).ended[0].took_s)
    return adds, deletes


def _order(sides: Sequence[Side], turn: int) -> Sequence[Side]:
    return sides if turn % 2 == 0 else sides[::-1]


def bursts(sides: Sequence[Side], count: int, rounds: int, say: Say) -> list[Row]:
    """All calls at once, the two sides in turn; the first round is for warming up."""
    adds, deletes = ({side.name: list[Ends]() for side in sides} for _ in range(2))
    for turn in range(rounds + 1):
        for side in _order(sides, turn):
            adds[side.name].append(_settled(side.add(side.containers)))
        for side in _order(sides, turn):
            deletes[side.name].append(_settled(side.delete(side.containers)))
        say(f"{count} at once, {f'round {turn} of {rounds}' if turn else 'warm-up'}")
    return [
        _wall_row("ADD", adds, count, "burst_add_ratio"),
        _wall_row("DEL", deletes, count, "burst_del_ratio"),
        _call_row("ADD", adds),
        _call_row("DEL", deletes),
    ]


def _settled(ends: Ends) -> Ends:
    time.sleep(SETTLE_S)
    return ends


def _wall_row(verb: str, ends: dict[str, list[Ends]], count: int, key: str) -> Row:
    walls = {name: [end.wall_s for end in rounds[1:]] for name, rounds in ends.items()}
    return Row(f"burst {verb}, all {count}", walls["ours"], walls["theirs"], key)


def _call_row(verb: str, ends: dict[str, list[Ends]]) -> Row:
    took = {
        name: [call.took_s for end in rounds[1:] for call in end.ended]
        for name, rounds in ends.items()
    }
    return Row(f"burst {verb}, each call", took["ours"], took["theirs"])
