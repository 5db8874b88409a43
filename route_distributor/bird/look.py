"""Ask BIRD how its sessions are doing.

Edge: BIRD's control socket. Blocking; for those who ask over HTTP.
"""

from collections.abc import Callable
from pathlib import Path

from bird_api.channels import SHOW_ALL, SHOW_STATUS, Seen, channels, is_recovering
from bird_api.control import BirdControl
from bird_api.protocols import SHOW_PROTOCOLS

TIMEOUT_S = 2.0  # for each answer; Prometheus waits 10 in all


# Raises Unavailable or Invalid when BIRD does not answer, or not as we know it.
Look = Callable[[], Seen]


def look(socket: Path, *, at_routes: bool = True) -> Seen:
    """Ask BIRD for its sessions and, if that is wanted, for how many routes they exchange.

    Raises:
        Unavailable: it does not answer in time.
        Invalid: it answers in a way that we do not know.
    """
    with BirdControl(str(socket), TIMEOUT_S) as bird:
        status = bird.command(SHOW_STATUS)
        found, up = channels(bird.command(SHOW_ALL if at_routes else SHOW_PROTOCOLS))
    return Seen(tuple(found), tuple(up), is_recovering(status))
