"""BGPFilters in BIRD's language: a function for each direction.

Pure: no I/O.
"""

from collections.abc import Iterable

from route_distributor.bird.values import Community, Filter, Rule

# Calico's way to send a route's priority, which is its metric in the kernel: the local preference
# is this less it.
TOP = 2**31 - 1


def filter_functions(filters: Iterable[Filter], version: int) -> list[str]:
    """Write the functions for a family; a filter without rules has none."""
    texts = []
    for each in filters:
        for direction, rules in (("import", each.imports), ("export", each.exports)):
            if rules[version]:
                texts.append(_function(f"{each.symbol}_{direction}{version}", rules[version]))
    return texts


def _function(name: str, rules: tuple[Rule, ...]) -> str:
    is_import = "_import" in name
    version = name[-1]
    accept = f"take{version}();" if is_import else "accept;"
    lines = "".join(f"  {_statement(rule, accept)}\n" for rule in rules)
    return f"function {name}(bool is_ibgp)\n{{\n{lines}}}\n"


def _statement(rule: Rule, accept: str) -> str:
    conditions = _conditions(rule)
    steps = [
        *map(add_community, rule.add_communities),
        # The last one put in front is the first one read.
        *(f"bgp_path.prepend({number});" for number in reversed(rule.prepend)),
        *([f"bgp_local_pref = {TOP - rule.set_priority};"] if rule.set_priority else []),
        accept if rule.is_accept else "reject;",
    ]
    if not conditions:
        return " ".join(steps)
    return f"if {' && '.join(conditions)} then {{ {' '.join(steps)} }}"


def _conditions(rule: Rule) -> list[str]:
    found = [_place(rule)] if rule.cidr is not None else []
    if rule.is_from_peer:
        found.append("source = RTS_BGP")
    if rule.interface:
        found.append(f'defined(ifname) && ifname ~ "{rule.interface}"')
    if rule.is_ibgp is not None:
        found.append("is_ibgp" if rule.is_ibgp else "!is_ibgp")
    found += [f"{_text(c)} ~ {_kind(c)}" for c in rule.communities]
    if rule.as_path_prefix:
        found.append(f"bgp_path ~ [= {' '.join(map(str, rule.as_path_prefix))} * =]")
    if rule.priority is not None:
        found.append(f"defined(bgp_local_pref) && bgp_local_pref = {TOP - rule.priority}")
    return found


def _place(rule: Rule) -> str:
    if rule.lengths is None:
        return f"net {'!=' if rule.is_inverted else '='} {rule.cidr}"
    shortest, longest = rule.lengths
    return f"net {'!~' if rule.is_inverted else '~'} [ {rule.cidr}{{{shortest},{longest}}} ]"


def add_community(community: Community) -> str:
    """Write what puts a community on a route."""
    return f"{_kind(community)}.add({_text(community)});"


def _kind(community: Community) -> str:
    return "bgp_community" if len(community) == 2 else "bgp_large_community"


def _text(community: Community) -> str:
    return f"({', '.join(map(str, community))})"
