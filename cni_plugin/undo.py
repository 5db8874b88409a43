"""Take back the finished steps of a command that failed, or whose result nobody received."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ParamSpec

from datamodel.errors import OcicatError

log = logging.getLogger(__name__)

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Added:
    """What an ADD has done."""

    result: Mapping[str, Any]  # as it is printed
    undo: Callable[[], None]  # takes it back


def quietly(step: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Run an undo step; a failure of it is logged and does not hide why there is an undo."""
    try:
        step(*args, **kwargs)
    except (OcicatError, OSError) as error:
        log.warning("undo is incomplete: %s", error)
