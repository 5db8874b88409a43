"""BIRD's routes, as ``show route`` tells of them, with ``all`` or without.

Pure: no I/O. Reads what BIRD 2.0 prints, for IPv4 and IPv6.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

from bird_api.reply import Reply
from datamodel.block import Address
from datamodel.errors import Invalid
from datamodel.pool import Network

SHOW_ROUTES = "show route"
NOT_FOUND = 8001  # what BIRD answers to ``show_route_for`` if it has none

_ROUTE = 1007  # a table's title, a route, and the hops behind it
_TYPE = 1008
_ATTRIBUTES = 1012
_LINE = re.compile(
    # A further route for the same destination does not repeat it.
    r"(?P<network>\S*)\s+(?P<kind>\w+) \[(?P<protocol>\S+) (?P<since>[^]]*?)"
    r"(?: from (?P<peer>[0-9A-Fa-f.:]+)(?:%\S+)?)?\] (?P<best>\* )?\(\d+"
)
_HOP = re.compile(r"\t(?:via (?P<via>\S+) on (?P<behind>\S+)|dev (?P<device>\S+))(?P<rest>.*)")


def show_route_for(address: Address) -> str:
    """The command that asks by which routes BIRD would send to an address."""
    return f"show route for {address} all"


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a route leads next."""

    device: str
    via: Address | None = None
    is_onlink: bool = False


@dataclass(frozen=True, slots=True)
class BirdRoute:
    """One route; for one destination there may be several, of different protocols or peers."""

    network: Network
    kind: str  # unicast, blackhole, unreachable or prohibit
    protocol: str  # the name of the one from which it came
    since: str  # as BIRD writes it
    is_best: bool
    peer: Address | None = None  # that told it, where this is not its next hop
    hops: tuple[Hop, ...] = ()
    source: str = ""  # BGP, static, inherit (from the kernel), device; "" without ``all``
    attributes: Mapping[str, str] = field(default_factory=dict)  # "BGP.next_hop": "10.0.0.12"

    @property
    def next_hop(self) -> str:
        """What the peer says is the next hop; "" if it is no route of BGP, or without ``all``."""
        return self.attributes.get("BGP.next_hop", "").split(" ")[0]


def routes(replies: Iterable[Reply]) -> list[BirdRoute]:
    """Read the answer, in BIRD's order: of one destination, the best route comes first.

    Raises:
        Invalid: these are not the routes that we know.
    """
    found: list[BirdRoute] = []
    for reply in replies:
        if reply.code == _ROUTE and not reply.text.startswith("\t"):
            if reply.text and not reply.text.startswith("Table "):
                found.append(_route(reply.text, found[-1].network if found else None))
        elif reply.code in (_ROUTE, _TYPE, _ATTRIBUTES):
            if not found:
                raise Invalid(f"BIRD's routes begin with {reply.text!r}, which is of no route")
            found[-1] = _completed(found[-1], reply)
    return found


def _route(text: str, before: Network | None) -> BirdRoute:
    match = _LINE.match(text)
    if match is None or not (match["network"] or before):
        raise Invalid(f"BIRD's routes have an unknown line: {text!r}")
    try:
        network = ip_network(match["network"]) if match["network"] else before
        peer = ip_address(match["peer"]) if match["peer"] else None
    except ValueError as error:
        raise Invalid(f"BIRD's routes have an unknown line: {text!r}") from error
    assert network is not None
    return BirdRoute(
        network,
        match["kind"],
        match["protocol"],
        match["since"],
        match["best"] is not None,
        peer,
    )


def _completed(route: BirdRoute, reply: Reply) -> BirdRoute:
    """Add to a route what a line below it says."""
    if reply.code == _ROUTE:
        hop = _HOP.match(reply.text)
        return replace(route, hops=(*route.hops, _hop(hop))) if hop else route
    name, _, value = reply.text.strip().partition(": ")
    if reply.code == _TYPE:
        return replace(route, source=value.partition(" ")[0])
    return replace(route, attributes={**route.attributes, name.rstrip(":"): value})


def _hop(match: re.Match[str]) -> Hop:
    is_onlink = "onlink" in match["rest"].split()
    if match["device"]:
        return Hop(match["device"], None, is_onlink)
    try:
        return Hop(match["behind"], ip_address(match["via"]), is_onlink)
    except ValueError as error:
        raise Invalid(f"BIRD's routes have an unknown hop: {match[0].strip()!r}") from error
