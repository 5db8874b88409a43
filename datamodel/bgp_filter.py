"""Which routes a BGP session takes and gives: Calico's BGPFilter.

Pure: no I/O.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from datamodel.bgp import AS_NUMBERS, beyond, is_community, is_interface_pattern, not_one_of
from datamodel.errors import Invalid
from datamodel.pool import Network

MATCH_OPERATORS = ("Equal", "NotEqual", "In", "NotIn")
SOURCES = ("RemotePeers",)
PEER_TYPES = ("eBGP", "iBGP")
PRIORITIES = range(1, 2**31 - 1)
OPERATIONS_MAX = 10
PREPENDED_MAX = 10
PREFIX_LENGTHS = {4: range(33), 6: range(129)}


@dataclass(frozen=True, slots=True)
class Operation:
    """What an accepting rule does to a route; exactly one of the three is set."""

    add_community: str | None = None
    prepend_as_path: tuple[int, ...] = ()
    set_priority: int | None = None

    def mistakes(self, path: str) -> list[str]:
        """Name everything that is wrong with it, which is at *path*."""
        found = []
        has = (self.add_community is not None, self.prepend_as_path, self.set_priority is not None)
        if sum(map(bool, has)) != 1:
            found.append(f"{path}: give one of addCommunity, prependASPath and setPriority")
        if self.add_community is not None and not is_community(self.add_community):
            found.append(f"{path}.addCommunity: {self.add_community!r} is not a community")
        if len(self.prepend_as_path) > PREPENDED_MAX:
            found.append(f"{path}.prependASPath: has more than {PREPENDED_MAX} AS numbers")
        for number in self.prepend_as_path:
            found += beyond(f"{path}.prependASPath", number, AS_NUMBERS)
        return [*found, *beyond(f"{path}.setPriority", self.set_priority, PRIORITIES)]


@dataclass(frozen=True, slots=True)
class FilterRule:
    """All conditions that are set must hold; the first rule that does decides."""

    is_accept: bool
    cidr: Network | None = None
    match_operator: str = ""  # "Equal", "NotEqual", "In" or "NotIn"; with cidr
    prefix_length_min: int | None = None
    prefix_length_max: int | None = None
    source: str = ""  # "RemotePeers": learnt by BGP
    interface: str = ""  # may have "*"
    peer_type: str = ""  # "eBGP" or "iBGP": of the session
    communities: tuple[str, ...] = ()
    as_path_prefix: tuple[int, ...] = ()
    priority: int | None = None
    operations: tuple[Operation, ...] = ()

    def mistakes(self, path: str, version: int) -> list[str]:
        """Name everything that is wrong with it, which is at *path* and for IPv<version>."""
        found = [
            *_cidr_mistakes(self, path, version),
            *not_one_of(f"{path}.source", self.source or None, SOURCES),
            *not_one_of(f"{path}.peerType", self.peer_type or None, PEER_TYPES),
            *beyond(f"{path}.priority", self.priority, PRIORITIES),
        ]
        if self.interface and not is_interface_pattern(self.interface):
            found.append(f"{path}.interface: {self.interface!r} is not an interface's name")
        if len(self.communities) > 1:  # so in Calico, which has not decided what several mean
            found.append(f"{path}.communities: there can be one value only")
        found += [
            f"{path}.communities: {value!r} is not a community like 65000:100"
            for value in self.communities
            if not is_community(value)
        ]
        for number in self.as_path_prefix:
            found += beyond(f"{path}.asPathPrefix", number, AS_NUMBERS)
        if self.operations and not self.is_accept:
            found.append(f"{path}.operations: need the action Accept")
        if len(self.operations) > OPERATIONS_MAX:
            found.append(f"{path}.operations: there can be {OPERATIONS_MAX} at most")
        for i, operation in enumerate(self.operations):
            found += operation.mistakes(f"{path}.operations[{i}]")
        return found


@dataclass(frozen=True, slots=True)
class BgpFilter:
    """Rules by direction and family; a route that none decides goes on to ours."""

    name: str
    export_v4: tuple[FilterRule, ...] = ()
    import_v4: tuple[FilterRule, ...] = ()
    export_v6: tuple[FilterRule, ...] = ()
    import_v6: tuple[FilterRule, ...] = ()

    def mistakes(self) -> list[str]:
        """Name everything that Calico or BIRD would refuse, each with its field; empty if right."""
        lists = (
            ("exportV4", self.export_v4, 4),
            ("importV4", self.import_v4, 4),
            ("exportV6", self.export_v6, 6),
            ("importV6", self.import_v6, 6),
        )
        return [
            mistake
            for name, rules, version in lists
            for i, rule in enumerate(rules)
            for mistake in rule.mistakes(f"{name}[{i}]", version)
        ]

    def checked(self) -> "BgpFilter":
        """Return the filter itself if it is right.

        Raises:
            Invalid: with every mistake.
        """
        if found := self.mistakes():
            raise Invalid(f"BGPFilter {self.name}: {'; '.join(found)}")
        return self


def _cidr_mistakes(rule: FilterRule, path: str, version: int) -> Iterator[str]:
    yield from not_one_of(f"{path}.matchOperator", rule.match_operator or None, MATCH_OPERATORS)
    lengths = (rule.prefix_length_min, rule.prefix_length_max)
    if rule.cidr is None:
        if rule.match_operator:
            yield f"{path}.matchOperator: needs cidr"
        if lengths != (None, None):
            yield f"{path}.prefixLength: needs cidr"
        return
    if rule.cidr.version != version:
        yield f"{path}.cidr: {rule.cidr} is not IPv{version}"
        return
    if not rule.match_operator:
        yield f"{path}.cidr: needs matchOperator"
    wrong = [
        mistake
        for name, length in zip(("min", "max"), lengths, strict=True)
        for mistake in beyond(f"{path}.prefixLength.{name}", length, PREFIX_LENGTHS[version])
    ]
    yield from wrong
    # BIRD refuses a range of lengths that holds none; those of the cidr are its least.
    least = max(rule.cidr.prefixlen, lengths[0] or 0)
    most = PREFIX_LENGTHS[version][-1] if lengths[1] is None else lengths[1]
    if not wrong and least > most:
        yield f"{path}.prefixLength: no length is in {least}..{most}"
