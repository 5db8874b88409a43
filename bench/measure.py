"""Calls both sides alternately, one call after the other and many at once.

Story. The side that goes first changes every time, so that neither always meets what the other has
left the machine to do.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from bench.execute import Ends
from bench.side import Side
from bench.stats import EXECUTABLES, Cost, Row
from ocicatctl.lab.runtime import Container

VERBS = ("ADD", "DEL")

WARM_UP_CALLS = 10
SETTLE_S = 0.3  # between bursts: what one leaves to do is its own cost, not the next one's time

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


@dataclass(slots=True)
class _Bursts:
    """The bursts of one verb and one side that count, and what they cost in all."""

    ends: list[Ends] = field(default_factory=list)
    cpu_s: dict[str, float] = field(default_factory=dict)  # by who used it

    def run(self, side: Side, calls: Callable[[Sequence[Container]], Ends]) -> None:
        """One more."""
        before = side.daemons_cpu_s()
        self.ends.append(calls(side.containers))
        time.sleep(SETTLE_S)
        used = {name: after - before[name] for name, after in side.daemons_cpu_s().items()}
        for name, cpu_s in {EXECUTABLES: self.ends[-1].cpu_s, **used}.items():
            self.cpu_s[name] = self.cpu_s.get(name, 0) + cpu_s


def bursts(
    sides: Sequence[Side], count: int, rounds: int, say: Say
) -> tuple[list[Row], dict[str, Cost]]:
    """All calls at once, the two sides in turn; the first round is for warming up."""
    _bursts(sides, 0, say)
    done = _bursts(sides, rounds, say)
    rows = [
        *(_wall_row(verb, done[verb], count) for verb in VERBS),
        *(_call_row(verb, done[verb]) for verb in VERBS),
    ]
    costs: dict[str, Cost] = {
        f"{side.name} {verb}": {
            name: used / (rounds * count) for name, used in done[verb][side.name].cpu_s.items()
        }
        for side in sides
        for verb in VERBS
    }
    return rows, costs


def _bursts(sides: Sequence[Side], rounds: int, say: Say) -> dict[str, dict[str, _Bursts]]:
    """By verb and side; of no rounds, a single one for warming up."""
    done = {verb: {side.name: _Bursts() for side in sides} for verb in VERBS}
    for turn in range(1, max(rounds, 1) + 1):
        for side in _order(sides, turn):
            done["ADD"][side.name].run(side, side.add)
        for side in _order(sides, turn):
            done["DEL"][side.name].run(side, side.delete)
        say(f"all at once, {f'round {turn} of {rounds}' if rounds else 'warm-up'}")
    return done


def _wall_row(verb: str, bursts: Mapping[str, _Bursts], count: int) -> Row:
    walls = {name: [end.wall_s for end in done.ends] for name, done in bursts.items()}
    key = f"burst_{verb.lower()}_ratio"
    return Row(f"burst {verb}, all {count}", walls["ours"], walls["theirs"], key)


def _call_row(verb: str, bursts: Mapping[str, _Bursts]) -> Row:
    took = {
        name: [call.took_s for end in done.ends for call in end.ended]
        for name, done in bursts.items()
    }
    return Row(f"burst {verb}, each call", took["ours"], took["theirs"])
