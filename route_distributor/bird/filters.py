"""BGPFilters as rules that BIRD can express, or why one cannot be.

Pure: no I/O. A filter is taken as a whole or not at all: half of one could let out what the other
half would have stopped.
"""

import hashlib
import re
from ipaddress import IPv4Network, IPv6Network

from datamodel.bgp import AS_NUMBERS
from datamodel.bgp_filter import BgpFilter, FilterRule, Operation
from datamodel.errors import Invalid
from datamodel.pool import Network
from route_distributor.bird.values import Community, Filter, Rule

PRIORITIES = range(1, 2**31)
_OPERATORS = ("Equal", "NotEqual", "In", "NotIn")
_INTERFACE = re.compile(r"[A-Za-z0-9_.:@*?-]{1,15}")
_COMMUNITY_BITS = {2: 16, 3: 32}
_EVERYWHERE: dict[int, Network] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}
_MAX_PATH = 64


def usable_filter(wanted: BgpFilter) -> Filter:
    """Read a filter.

    Raises:
        Invalid: with every mistake; it names the filter.
    """
    mistakes: list[str] = []
    directions = {
        ("import", 4): wanted.import_v4,
        ("import", 6): wanted.import_v6,
        ("export", 4): wanted.export_v4,
        ("export", 6): wanted.export_v6,
    }
    rules = {
        (direction, version): tuple(
            _rule(rule, version, f"{direction}V{version}[{i}]", mistakes)
            for i, rule in enumerate(given)
        )
        for (direction, version), given in directions.items()
    }
    if mistakes:
        raise Invalid(f"BGPFilter {wanted.name}: {'; '.join(mistakes)}; mend it with calicoctl")
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
    parts = text.split(":")
    bits = _COMMUNITY_BITS.get(len(parts), 0)
    if not all(re.fullmatch("[0-9]{1,10}", part) for part in parts):
        return None
    numbers = tuple(int(part) for part in parts)
    return numbers if bits and max(numbers) < 1 << bits else None


def is_interface_pattern(text: str) -> bool:
    """Whether *text* can be the name of an interface; ``*`` and ``?`` stand for others."""
    return _INTERFACE.fullmatch(text) is not None


def is_plain(network: Network) -> bool:
    """Whether the address is one alone: Python takes any text for the zone of an IPv6 address."""
    return isinstance(network, IPv4Network) or network.network_address.scope_id is None


def _rule(rule: FilterRule, version: int, where: str, mistakes: list[str]) -> Rule:
    found = [
        *_place_mistakes(rule, version),
        *_session_mistakes(rule),
        *_number_mistakes(rule),
    ]
    mistakes += [f"{where}: {mistake}" for mistake in found]
    add, prepend, priority = _operations(rule.operations)
    return Rule(
        is_accept=rule.is_accept,
        cidr=_cidr(rule, version),
        is_inverted=rule.match_operator in ("NotEqual", "NotIn"),
        lengths=None if found else _lengths(rule, version),
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


def _cidr(rule: FilterRule, version: int) -> Network | None:
    has_lengths = rule.prefix_length_min is not None or rule.prefix_length_max is not None
    return rule.cidr or (_EVERYWHERE[version] if has_lengths else None)


def _lengths(rule: FilterRule, version: int) -> tuple[int, int] | None:
    """The shortest and the longest prefix that is meant; ``None``: *cidr* itself."""
    cidr = _cidr(rule, version)
    if cidr is None or rule.match_operator in ("Equal", "NotEqual"):
        return None
    least, most = rule.prefix_length_min, rule.prefix_length_max
    shortest = max(cidr.prefixlen, 0 if least is None else least)
    longest = min(cidr.max_prefixlen, cidr.max_prefixlen if most is None else most)
    return (shortest, longest) if shortest <= longest else (1, 0)


def _place_mistakes(rule: FilterRule, version: int) -> list[str]:
    found = []
    lengths = [n for n in (rule.prefix_length_min, rule.prefix_length_max) if n is not None]
    if rule.cidr is not None and (rule.cidr.version != version or not is_plain(rule.cidr)):
        found.append(f"cidr {str(rule.cidr)!r} is no IPv{version} range")
    if rule.cidr is not None and rule.match_operator not in _OPERATORS:
        found.append(f"matchOperator {rule.match_operator!r} is not one of {', '.join(_OPERATORS)}")
    if rule.cidr is None and rule.match_operator:
        found.append("matchOperator needs a cidr")
    if lengths and rule.match_operator in ("Equal", "NotEqual"):
        found.append(f"prefixLength does not go with matchOperator {rule.match_operator}")
    return found


def _session_mistakes(rule: FilterRule) -> list[str]:
    found = []
    if rule.source not in ("", "RemotePeers"):
        found.append(f"source {rule.source!r} is not RemotePeers")
    if rule.peer_type not in ("", "iBGP", "eBGP"):
        found.append(f"peerType {rule.peer_type!r} is neither iBGP nor eBGP")
    if rule.interface and not is_interface_pattern(rule.interface):
        found.append(f"interface {rule.interface!r} can be no interface's name")
    return found


def _number_mistakes(rule: FilterRule) -> list[str]:
    operations = rule.operations
    communities = [*rule.communities, *(o.add_community for o in operations if o.add_community)]
    numbers = [*rule.as_path_prefix, *(n for o in operations for n in o.prepend_as_path)]
    priorities = [rule.priority, *(o.set_priority for o in operations)]
    found = [f"community {c!r} is none" for c in communities if community_of(c) is None]
    found += [
        f"AS number {n} is not in 1..{AS_NUMBERS[-1]}" for n in numbers if n not in AS_NUMBERS
    ]
    found += [
        f"priority {p} is not in 1..{PRIORITIES[-1]}"
        for p in priorities
        if p is not None and p not in PRIORITIES
    ]
    if len(numbers) > _MAX_PATH:
        found.append(f"more than {_MAX_PATH} AS numbers")
    if operations and not rule.is_accept:
        found.append("operations need the action Accept")
    return found


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
