"""How one BGPPeer's sessions are held, and what is wrong with it.

Pure: no I/O.
"""

from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address

from datamodel.bgp import SecretRef, beyond
from datamodel.bgp_filter import BgpFilter
from datamodel.bgp_peer import BgpPeer
from datamodel.errors import Invalid
from route_distributor.bird.filters import has_no_zone, usable_filter
from route_distributor.bird.values import Filter

KEEPALIVES_S = range(1, 121)  # up to half of the hold time of BIRD
MAX_PASSWORD_BYTES = 80  # the kernel's, for TCP MD5


def peer_mistakes(peer: BgpPeer) -> list[str]:
    """Name what is wrong with a BGPPeer by itself, or cannot be said in BIRD's language."""
    found = [*peer.mistakes(), *beyond("keepaliveTime", peer.keepalive_s, KEEPALIVES_S, "s")]
    found += [
        f"{field}: {str(address)!r} has a zone"
        for field, address in (("peerIP", peer.peer_ip), ("reachableBy", peer.reachable_by))
        if address is not None and not has_no_zone(address)
    ]
    return list(dict.fromkeys(found))


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
    """Find the filters of a peer, which are there; *known* keeps those that were read.

    Raises:
        Invalid: one cannot be expressed.
    """
    for name in peer.filters:
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
