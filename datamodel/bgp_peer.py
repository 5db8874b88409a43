"""A BGP session that an operator asks for: Calico's BGPPeer.

Pure: no I/O.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from datamodel.bgp import AS_NUMBERS, PORTS, RESTART_TIMES_S, SecretRef, beyond, not_one_of
from datamodel.errors import Invalid
from datamodel.node import is_host_address
from datamodel.selector import parse

NEXT_HOP_MODES = ("Auto", "Self", "Keep")
SOURCE_ADDRESSES = ("UseNodeIP", "None")
REVERSE_PEERINGS = ("Auto", "Manual")
KEEPALIVES_S = range(1, 2**16)
HOPS = range(1, 2**8)
LOCAL_AS_COUNTS = range(2**31)

_WITH_PORT = re.compile(r"(?:([0-9.]+)|\[([0-9A-Fa-f:.]+)\]):([0-9]{1,5})")


@dataclass(frozen=True, slots=True)
class BgpPeer:
    """Sessions of some nodes of ours with a router, or with other nodes; absent fields as Calico's.

    Which nodes: ``node``, or those that ``node_selector`` selects, or (neither) all. With whom:
    ``peer_ip`` and ``as_number``, or the nodes that ``peer_selector`` selects.
    """

    name: str
    node: str = ""
    node_selector: str = ""
    peer_ip: IPv4Address | IPv6Address | None = None
    peer_port: int | None = None  # None: the peer node's listenPort, or 179
    as_number: int | None = None
    peer_selector: str = ""
    local_workload_selector: str = ""  # sessions with pods, which we do not have
    keeps_original_next_hop: bool = False  # of eBGP only; older than next_hop_mode
    next_hop_mode: str | None = None  # "Auto", "Self" or "Keep"
    password: SecretRef | None = None
    source_address: str = "UseNodeIP"  # or "None"
    restart_time_s: int | None = None  # of a graceful restart; None: BIRD's default
    keepalive_s: int | None = None
    allowed_local_as: int | None = None  # how often our AS number may be in a path
    local_as_number: int | None = None  # instead of the node's
    ttl_security: int | None = None  # hops
    reachable_by: IPv4Address | IPv6Address | None = None  # a gateway for a static route to it
    filters: tuple[str, ...] = ()  # names of BGPFilters, in order
    reverse_peering: str = "Auto"  # "Manual": the selected peers get no session back by themselves
    is_bfd: bool = False  # annotation ocicat.io/bfd: "true"

    def mistakes(self) -> list[str]:
        """Name everything that Calico or BIRD would refuse, each with its field; empty if right."""
        return [
            *_who(self),
            *_selector_mistakes(self),
            *_address_mistakes(self),
            *beyond("asNumber", self.as_number, AS_NUMBERS),
            *beyond("localASNumber", self.local_as_number, AS_NUMBERS),
            *beyond("numAllowedLocalASNumbers", self.allowed_local_as, LOCAL_AS_COUNTS),
            *beyond("maxRestartTime", self.restart_time_s, RESTART_TIMES_S, "s"),
            *beyond("keepaliveTime", self.keepalive_s, KEEPALIVES_S, "s"),
            *beyond("ttlSecurity", self.ttl_security, HOPS),
            *not_one_of("nextHopMode", self.next_hop_mode, NEXT_HOP_MODES),
            *not_one_of("sourceAddress", self.source_address, SOURCE_ADDRESSES),
            *not_one_of("reversePeering", self.reverse_peering, REVERSE_PEERINGS),
            *_next_hop_mistakes(self),
            *(self.password.mistakes("password") if self.password is not None else ()),
        ]

    def checked(self) -> "BgpPeer":
        """Return the peer itself if it is right.

        Raises:
            Invalid: with every mistake.
        """
        if found := self.mistakes():
            raise Invalid(f"BGPPeer {self.name}: {'; '.join(found)}")
        return self


def parse_peer_ip(text: str) -> tuple[IPv4Address | IPv6Address, int | None]:
    """Read where a peer listens: an address, "<IPv4>:<port>" or "[<IPv6>]:<port>".

    Raises:
        ValueError: it is none of these. Whether there can be such a port is not asked.
    """
    match = _WITH_PORT.fullmatch(text)
    address = ip_address((match[1] or match[2]) if match else text)
    if "%" in text or (match and (address.version == 4) != (match[1] is not None)):
        raise ValueError(f"{text!r} is not an address, <IPv4>:<port> or [<IPv6>]:<port>")
    return address, int(match[3]) if match else None


def _who(peer: BgpPeer) -> list[str]:
    """What is wrong about which nodes have the session, and with whom."""
    found = []
    if peer.node and peer.node_selector:
        found.append("node: excludes nodeSelector; give one")
    others = {
        "peerIP": peer.peer_ip is not None,
        "peerSelector": bool(peer.peer_selector),
        "localWorkloadSelector": bool(peer.local_workload_selector),
    }
    first, *rest = [name for name, is_given in others.items() if is_given] or [""]
    if not first:
        found.append("peerIP: is missing; give it and asNumber, or peerSelector")
    elif rest:
        found.append(f"{first}: excludes {' and '.join(rest)}; give one")
    elif first != "peerSelector" and peer.as_number is None:
        found.append("asNumber: is missing; a session needs the peer's AS number")
    elif first == "peerSelector" and peer.as_number is not None:
        found.append("asNumber: must not be set beside peerSelector; nodes have their own")
    return found


def _selector_mistakes(peer: BgpPeer) -> list[str]:
    found = []
    for name, text in (
        ("nodeSelector", peer.node_selector),
        ("peerSelector", peer.peer_selector),
        ("localWorkloadSelector", peer.local_workload_selector),
    ):
        try:
            parse(text)
        except Invalid as error:
            found.append(f"{name}: {error}")
    return found


def _address_mistakes(peer: BgpPeer) -> list[str]:
    found = beyond("peerIP", peer.peer_port, PORTS)
    for name, address in (("peerIP", peer.peer_ip), ("reachableBy", peer.reachable_by)):
        if address is not None and not is_host_address(address):
            found.append(f"{name}: {address} is no host's address")
    if peer.reachable_by is None:
        return found
    if peer.peer_ip is None:
        found.append("reachableBy: needs peerIP, to which it is the way")
    elif peer.reachable_by.version != peer.peer_ip.version:
        found.append("reachableBy: is of another address family than peerIP")
    return found


def _next_hop_mistakes(peer: BgpPeer) -> list[str]:
    if peer.keeps_original_next_hop and peer.next_hop_mode is not None:
        return ["keepOriginalNextHop: must not be set beside nextHopMode; drop it"]
    return []
