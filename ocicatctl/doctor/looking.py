"""Looks at everything at once, and waits for no look longer than it may take.

Edge: threads. A look that fails, or is late, leaves its areas unseen; nothing else of it counts.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from datamodel.errors import OcicatError
from ocicatctl.doctor.facts import Facts, NotSeen
from ocicatctl.doctor.settings import Settings

DEADLINE_S = 4.0


@dataclass(frozen=True, slots=True)
class Look:
    """One way to see some areas; they are yielded as they are seen."""

    areas: tuple[type, ...]
    see: Callable[[Settings], Iterator[object]]


def look(settings: Settings, looks: Iterable[Look], deadline_s: float = DEADLINE_S) -> Facts:
    """Look, and say of what was not seen why."""
    runs = [_Run(one, settings) for one in looks]
    for run in runs:
        run.thread.start()
    ends = time.monotonic() + deadline_s
    areas: dict[type, object] = {}
    unseen: dict[type, str] = {}
    for run in runs:
        run.thread.join(max(0.0, ends - time.monotonic()))
        late = f"was not seen within {deadline_s:g} s"
        seen, why = list(run.seen), run.why or late
        areas |= {type(value): value for value in seen}
        unseen |= {area: why for area in run.look.areas if area not in areas}
    return Facts(settings, areas, unseen)


class _Run:
    """A look under way. Its thread keeps nobody from ending: one that hangs is left behind."""

    def __init__(self, one: Look, settings: Settings) -> None:
        self.look = one
        self.seen: list[object] = []
        self.why = ""
        self.thread = threading.Thread(target=self._see, args=(settings,), daemon=True)

    def _see(self, settings: Settings) -> None:
        try:
            for value in self.look.see(settings):
                self.seen.append(value)
            self.why = "was not looked at"
        except (OcicatError, NotSeen) as error:
            self.why = str(error)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            self.why = f"{where}{error.strerror or error}"
        except Exception as error:  # noqa: BLE001 - no look may end the others
            self.why = f"the look failed: {type(error).__name__}: {error}"
