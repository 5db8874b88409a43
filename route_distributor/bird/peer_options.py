"""How one BGPPeer's sessions are held, and what is wrong with it.

Pure: no I/O.
"""

from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from datamodel.bgp import AS_NUMBERS, PORTS, SecretRef
from datamodel.bgp_filter import BgpFilter
from datamodel.bgp_peer import BgpPeer
from datamodel.errors import Invalid
from datamodel.selector import parse
from route_distributor.bird.filters import usable_filter
from route_distributor.bird.values import Address, Filter

HOPS = range(1, 255)
RESTART_TIMES_S = range(4096)  # 12 bits in BGP's own message
KEEPALIVES_S = range(1, 241)  # up to the hold time of BIRD
LOCAL_AS_COUNTS = range(256)
MAX_PASSWORD_BYTES = 80  # the kernel's, for TCP MD5
_CHOICES = {
    "nextHopMode": ("next_hop_mode", (None, "Auto", "Self", "Keep")),
    "sourceAddress": ("source_address", ("", "UseNodeIP", "None")),
    "reversePeering": ("reverse_peering", ("", "Auto", "Manual")),
}
_NUMBERS = {
    "port": ("peer_port", PORTS),
    "localASNumber": ("local_as_number", AS_NUMBERS),
    "ttlSecurity": ("ttl_security", HOPS),
    "maxRestartTime": ("restart_time_s", RESTART_TIMES_S),
    "keepaliveTime": ("keepalive_s", KEEPALIVES_S),
    "numAllowedLocalASNumbers": ("allowed_local_as", LOCAL_AS_COUNTS),
}


def peer_mistakes(peer: BgpPeer) -> list[str]:
    """Name what is wrong with a BGPPeer by itself."""
    found = [*_choice_mistakes(peer), *_address_mistakes(peer)]
    for field, text in (("nodeSelector", peer.node_selector), ("peerSelector", peer.peer_selector)):
        try:
            parse(text)
        except Invalid as error:
            found.append(f"{field}: {error}")
    if peer.node and peer.node_selector:
        found.append("node and nodeSelector exclude each other")
    return found


def _choice_mistakes(peer: BgpPeer) -> list[str]:
    found = []
    for field, (name, values) in _CHOICES.items():
        if getattr(peer, name) not in values:
            known = ", ".join(value for value in values if value)
            found.append(f"{field} {getattr(peer, name)!r} is not one of {known}")
    for field, (name, allowed) in _NUMBERS.items():
        value = getattr(peer, name)
        if value is not None and value not in allowed:
            found.append(f"{field} {value} is not in {allowed[0]}..{allowed[-1]}")
    return found


def _address_mistakes(peer: BgpPeer) -> list[str]:
    gateway = peer.reachable_by
    found = []
    if gateway is not None and not is_host_address(gateway):
        found.append(f"reachableBy {str(gateway)!r} is no router's address")
    if peer.peer_ip is None:
        return found if peer.peer_selector else [*found, "neither peerIP nor peerSelector is set"]
    if peer.peer_selector:
        found.append("peerIP and peerSelector exclude each other")
    if not is_host_address(peer.peer_ip):
        found.append(f"peerIP {str(peer.peer_ip)!r} is no router's address")
    if peer.as_number is None or peer.as_number not in AS_NUMBERS:
        found.append(f"asNumber {peer.as_number} is not in 1..{AS_NUMBERS[-1]}")
    if gateway is not None and gateway.version != peer.peer_ip.version:
        found.append(f"reachableBy {gateway} is not of the family of peerIP {peer.peer_ip}")
    return found


def is_host_address(address: Address) -> bool:
    """Whether a host may have the address, and BIRD knows it without an interface."""
    if isinstance(address, IPv6Address):
        # BIRD takes an IPv4 address in the guise of IPv6 for what it is.
        if address.ipv4_mapped is not None or address.is_link_local or address.scope_id is not None:
            return False
        return not (address.is_multicast or address.is_unspecified or address.is_loopback)
    return not (
        address.is_multicast or address.is_unspecified or address.is_loopback or address.is_reserved
    )


def password_of(reference: SecretRef | None, secrets: Mapping[SecretRef, str]) -> str | None:
    """Look a password up.

    Raises:
        Invalid: it is not there, or BIRD cannot be told of it.
    """
    if reference is None:
        return None
    where = f"key {reference.key!r} of secret {reference.name!r}"
    password = secrets.get(reference)
    if password is None:
        raise Invalid(f"{where} is not there; create it")
    try:
        size = len(password.encode())
    except UnicodeEncodeError:
        size = 0
    # BIRD's strings have no way to write a quote.
    if not password.isprintable() or '"' in password or not 1 <= size <= MAX_PASSWORD_BYTES:
        raise Invalid(
            f"{where} is not 1 to {MAX_PASSWORD_BYTES} bytes of printable text without quotes; "
            "choose another"
        )
    return password


def filters_of(
    peer: BgpPeer, filters: Mapping[str, BgpFilter], known: dict[str, Filter]
) -> tuple[Filter, ...]:
    """Find the filters of a peer; *known* keeps those that were read.

    Raises:
        Invalid: one is not there, or cannot be expressed.
    """
    for name in peer.filters:
        if name not in filters:
            raise Invalid(f"filter {name!r} is not there; create it, or take it from the list")
        if name not in known:
            known[name] = usable_filter(filters[name])
    return tuple(known[name] for name in dict.fromkeys(peer.filters))


def cluster_id_of(text: str | None) -> IPv4Address | None:
    """Read a route reflector's cluster id.

    Raises:
        Invalid: it is none.
    """
    if not text:
        return None
    try:
        return IPv4Address(text)
    except AddressValueError as error:
        raise Invalid(
            f"routeReflectorClusterID {text!r} is not written as an IPv4 address"
        ) from error
