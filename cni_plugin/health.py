"""How the CNI server is: whether it still accepts calls, and whether an ADD could be served now.

Edge: sockets. ``health_api`` shows it, if anybody asks.
"""

import socket
import time

from cni_plugin.parts import STATUS_TIMEOUT_S
from ipam_api.client import IpamClient

ACCEPT_TIMEOUT_S = 1.0


class Pulse:
    """Tells whether the loop that accepts calls still goes round."""

    def __init__(self, longest_s: float) -> None:
        """Begin now; *longest_s*: so long a round may take."""
        self._longest_s = longest_s
        self._at = time.monotonic()

    def beat(self) -> None:
        """Another round begins."""
        self._at = time.monotonic()

    def check(self) -> str:
        """Say what is wrong, nothing if all is well."""
        silent_s = time.monotonic() - self._at
        return f"no call was accepted for {silent_s:.0f} s" if silent_s > self._longest_s else ""


def unreadiness(socket_path: str, ipam: IpamClient) -> str:
    """Say why an ADD could not be served now; empty if it could.

    Raises:
        OcicatError: ipamd does not answer.
    """
    if wrong := _not_accepting(socket_path):
        return wrong
    return ipam.status(STATUS_TIMEOUT_S).waits_for


def _not_accepting(path: str) -> str:
    """Call as a launcher that goes away without a word: the server hangs up, if it gets to it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.settimeout(ACCEPT_TIMEOUT_S)
        try:
            caller.connect(path)
            caller.shutdown(socket.SHUT_WR)
            caller.recv(1)
        except OSError as error:
            return f"{path}: takes no call ({error.strerror or error})"
    return ""
