"""Take back the finished steps of a command that failed."""

import logging
from collections.abc import Callable
from typing import ParamSpec

from datamodel.errors import OcicatError

log = logging.getLogger(__name__)

P = ParamSpec("P")


def quietly(step: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Run an undo step; a failure of it is logged and does not hide why there is an undo."""
    try:
        step(*args, **kwargs)
    except (OcicatError, OSError) as error:
        log.warning("undo is incomplete: %s", error)
