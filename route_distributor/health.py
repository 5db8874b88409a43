"""When a node's routing counts as ready: Calico's rules.

Pure: no I/O.
"""

from bird_api.channels import Seen

YOUNG_S = 30.0  # afterwards one session is enough: a peer that is down must not make us unready


def unreadiness(seen: Seen, age_s: float) -> str:
    """Say why the node is not ready; empty if it is.

    Args:
        seen: BIRD now.
        age_s: how long the distributor has been running.
    """
    if not seen.sessions:
        return ""
    missing = [session.name for session in seen.sessions if not session.is_established]
    if len(missing) == len(seen.sessions):
        return "no session is established"
    if age_s >= YOUNG_S:
        return ""
    if missing:
        return f"not established: {', '.join(missing)}"
    return "a graceful restart is under way" if seen.is_recovering else ""
