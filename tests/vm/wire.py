"""A switch between machines: each port is a pair of sockets, so that nothing of it is the host's.

Edge: sockets, threads. Frames go where their target was last seen, else everywhere. What passed is
remembered: the wire is where one sees whether pods' packets travel in a tunnel.
"""

import contextlib
import socket
import threading
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Address

_MAX_FRAME = 65536
_IPV4 = b"\x08\x00"
_VXLAN_PORT = 4789
_PROTOCOLS = {1: "icmp", 4: "ipip", 6: "tcp", 17: "udp"}


@dataclass(frozen=True, slots=True)
class Packet:
    """The outer header of an IPv4 packet on the wire."""

    source: str
    target: str
    kind: str  # icmp, ipip, tcp, udp, vxlan, or the protocol's number
    length: int  # of the packet, without the frame's header


class Wire:
    """One segment; machines are plugged in before they start and stay until ``cut``."""

    def __init__(self) -> None:
        self.seen: Counter[Packet] = Counter()
        self._ports: list[socket.socket] = []
        self._learned: dict[bytes, socket.socket] = {}

    def plug(self) -> socket.socket:
        """A new port; the machine has the end that is returned."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ports.append(ours)
        threading.Thread(target=self._serve, args=(ours,), daemon=True).start()
        return theirs

    def cut(self) -> None:
        """End every port."""
        for port in self._ports:
            port.shutdown(socket.SHUT_RDWR)

    def _serve(self, port: socket.socket) -> None:
        with port, contextlib.suppress(ConnectionError):
            while frame := port.recv(_MAX_FRAME):
                if packet := read(frame):
                    self.seen[packet] += 1
                self._learned[frame[6:12]] = port
                known = self._learned.get(frame[:6])
                for other in [known] if known else self._ports:
                    if other is not port:
                        _send(other, frame)


def _send(port: socket.socket, frame: bytes) -> None:
    # A machine that does not keep up loses frames, as on any switch.
    with contextlib.suppress(OSError):
        port.send(frame, socket.MSG_DONTWAIT)


def read(frame: bytes) -> Packet | None:
    """What a frame carries; ``None`` if it is not IPv4."""
    if frame[12:14] != _IPV4:
        return None
    packet = frame[14:]
    payload = packet[(packet[0] & 0xF) * 4 :]
    kind = _PROTOCOLS.get(packet[9], str(packet[9]))
    is_first = not int.from_bytes(packet[6:8]) & 0x1FFF  # of a datagram's fragments
    if kind == "udp" and is_first and int.from_bytes(payload[2:4]) == _VXLAN_PORT:
        kind = "vxlan"
    source, target = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
    return Packet(str(source), str(target), kind, int.from_bytes(packet[2:4]))
