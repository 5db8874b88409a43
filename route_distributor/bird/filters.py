"""BGPFilters as rules that BIRD can express, or why one cannot be.

Pure: no I/O. A filter is taken as a whole or not at all: half of one could let out what the other
half would have stopped.
"""

import hashlib
import re
from ipaddress import IPv4Address

from datamodel.bgp import is_community
from datamodel.bgp_filter import BgpFilter, FilterRule, Operation
from datamodel.block import Address
from datamodel.errors import Invalid
from datamodel.pool import Network
from route_distributor.bird.values import Community, Filter, Rule

_EXACT = ("Equal", "NotEqual")


def usable_filter(wanted: BgpFilter) -> Filter:
    """Read a filter.

    Raises:
        Invalid: with every mistake; it names the filter.
    """
    directions = {
        ("import", 4): wanted.import_v4,
        ("import", 6): wanted.import_v6,
        ("export", 4): wanted.export_v4,
        ("export", 6): wanted.export_v6,
    }
    mistakes = wanted.mistakes()
    for (direction, version), given in directions.items():
        for n, rule in enumerate(given):
            mistakes += _bird_mistakes(rule, f"{direction}V{version}[{n}]")
    if mistakes:
        raise Invalid(f"BGPFilter {wanted.name}: {'; '.join(mistakes)}; mend it with ocicatctl")
    rules = {key: tuple(map(_rule, given)) for key, given in directions.items()}
    return Filter(
        symbol_of(wanted.name),
        imports={version: rules["import", version] for version in (4, 6)},
        exports={version: rules["export", version] for version in (4, 6)},
    )


def symbol_of(name: str) -> str:
    """Make a symbol of BIRD that is one filter's alone and still reads like its name."""
    readable = re.sub("[^A-Za-z0-9]", "_", name)[:24]
    return f"bgp_{readable}_{_digest(name)}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:12]


def community_of(text: str) -> Community | None:
    """Read ``65000:100`` or ``65000:100:1``; ``None`` if it is no community."""
    return tuple(map(int, text.split(":"))) if is_community(text) else None


def has_no_zone(address: Address) -> bool:
    """Whether the address is one alone: Python takes any text for the zone of an IPv6 address."""
    return isinstance(address, IPv4Address) or address.scope_id is None


def is_plain(network: Network) -> bool:
    """Whether a network's address is one alone."""
    return has_no_zone(network.network_address)


def _bird_mistakes(rule: FilterRule, path: str) -> list[str]:
    """What is right for Calico and still cannot be said in BIRD's language."""
    found = []
    if rule.cidr is not None and not is_plain(rule.cidr):
        found.append(f"{path}.cidr: {str(rule.cidr)!r} has a zone")
    has_lengths = (rule.prefix_length_min, rule.prefix_length_max) != (None, None)
    if has_lengths and rule.match_operator in _EXACT:
        found.append(f"{path}.prefixLength: needs matchOperator In or NotIn")
    return found


def _rule(rule: FilterRule) -> Rule:
    add, prepend, priority = _operations(rule.operations)
    return Rule(
        is_accept=rule.is_accept,
        cidr=rule.cidr,
        is_inverted=rule.match_operator in ("NotEqual", "NotIn"),
        lengths=_lengths(rule),
        is_from_peer=bool(rule.source),
        interface=rule.interface,
        is_ibgp=rule.peer_type == "iBGP" if rule.peer_type else None,
        communities=_communities(rule.communities),
        as_path_prefix=rule.as_path_prefix,
        priority=rule.priority,
        add_communities=add,
        prepend=prepend,
        set_priority=priority,
    )


def _lengths(rule: FilterRule) -> tuple[int, int] | None:
    """The shortest and the longest prefix that is meant; ``None``: *cidr* itself."""
    if rule.cidr is None or rule.match_operator in _EXACT:
        return None
    least, most = rule.prefix_length_min, rule.prefix_length_max
    longest = rule.cidr.max_prefixlen
    return max(rule.cidr.prefixlen, least or 0), longest if most is None else most


def _communities(texts: tuple[str, ...]) -> tuple[Community, ...]:
    return tuple(found for text in texts if (found := community_of(text)) is not None)


def _operations(
    operations: tuple[Operation, ...],
) -> tuple[tuple[Community, ...], tuple[int, ...], int | None]:
    """Communities to add, the path as it begins afterwards, the priority."""
    added = _communities(tuple(o.add_community for o in operations if o.add_community))
    prepend: tuple[int, ...] = ()
    priority = None
    for operation in operations:
        prepend = operation.prepend_as_path + prepend  # the later one goes before
        priority = priority if operation.set_priority is None else operation.set_priority
    return added, prepend, priority
