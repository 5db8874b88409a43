"""Whether a firewall lets packets of pods pass: its rules as values, and what becomes of a packet.

Pure: no I/O. Read from ``nft -j list ruleset`` and ``iptables-legacy -S``. A rule with a condition
that is not understood here is passed over: it may let something else through, or drop something
else.
"""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import Any

from datamodel.block import Address
from datamodel.errors import Invalid

_MAX_JUMPS = 16  # as many as the kernel follows
_ENDS = ("accept", "drop", "reject")


@dataclass(frozen=True, slots=True)
class Packet:
    """One on its way through the node."""

    iif: str
    oif: str
    saddr: Address
    daddr: Address

    def value(self, what: str) -> str:
        """The part of it that a condition is about."""
        return str(getattr(self, what))


@dataclass(frozen=True, slots=True)
class Condition:
    """What a rule asks of a packet."""

    what: str  # iif, oif, saddr, daddr; "": something that is not understood here
    values: tuple[str, ...] = ()  # one of them
    is_negated: bool = False

    def holds(self, packet: Packet) -> bool:
        """Whether the packet has it."""
        if not self.what:
            return False
        value = packet.value(self.what)
        has = _is_in if self.what.endswith("addr") else fnmatchcase
        return any(has(value, wanted) for wanted in self.values) != self.is_negated


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of packets for which all conditions hold."""

    conditions: tuple[Condition, ...]
    verdict: str = ""  # accept, drop, reject, return, jump, goto; "": none
    target: str = ""


@dataclass(frozen=True, slots=True)
class Chain:
    """One chain of a table."""

    table: str  # "ip filter"
    name: str
    rules: tuple[Rule, ...] = ()
    policy: str = ""  # of a chain that every forwarded packet passes; "": it is none
    is_legacy: bool = False  # iptables-legacy has it, nft does not know of it

    def mend(self) -> str:
        """The command that lets packets of pods pass."""
        if self.is_legacy:
            program = "ip6tables-legacy" if self.table.startswith("ip6") else "iptables-legacy"
            rule = f"{program} -I {self.name}"
            return f"{rule} -i cali+ -j ACCEPT && {rule} -o cali+ -j ACCEPT"
        rule = f"nft insert rule {self.table} {self.name}"
        return f"{rule} iifname 'cali*' accept && {rule} oifname 'cali*' accept"


@dataclass(frozen=True, slots=True)
class Firewall:
    """Every chain of the node."""

    chains: Mapping[tuple[str, str], Chain] = field(default_factory=dict)  # by table and name

    @classmethod
    def of(cls, chains: Iterable[Chain]) -> "Firewall":
        """Index them."""
        return cls({(chain.table, chain.name): chain for chain in chains})

    def dropped_by(self, packet: Packet) -> Chain | None:
        """The chain for forwarded packets in which it ends; ``None``: it passes."""
        families = ("inet", "ip" if packet.saddr.version == 4 else "ip6")
        for chain in self.chains.values():
            if chain.policy and chain.table.partition(" ")[0].partition("-")[0] in families:
                verdict = self._verdict(chain, packet, _MAX_JUMPS) or chain.policy
                if verdict != "accept":
                    return chain
        return None

    def _verdict(self, chain: Chain, packet: Packet, jumps: int) -> str:
        for rule in chain.rules:
            if not all(condition.holds(packet) for condition in rule.conditions):
                continue
            if rule.verdict in _ENDS:
                return rule.verdict
            if rule.verdict == "return":
                return ""
            if rule.verdict in ("jump", "goto") and jumps:
                target = self.chains.get((chain.table, rule.target))
                verdict = self._verdict(target, packet, jumps - 1) if target else ""
                if verdict or rule.verdict == "goto":
                    return verdict
        return ""


def _is_in(address: str, network: str) -> bool:
    try:
        return ip_address(address) in ip_network(network, strict=False)
    except ValueError:
        return False


# ---- nftables ----------------------------------------------------------------------------------


def nft_chains(text: str) -> list[Chain]:
    """Read what ``nft -j list ruleset`` prints.

    Raises:
        Invalid: it is something else.
    """
    chains: dict[tuple[str, str], Chain] = {}
    try:
        for item in json.loads(text)["nftables"]:
            if found := item.get("chain"):
                is_forward = found.get("hook") == "forward" and found.get("type") == "filter"
                policy = found.get("policy", "accept") if is_forward else ""
                chain = Chain(f"{found['family']} {found['table']}", found["name"], (), policy)
                chains[chain.table, chain.name] = chain
            elif found := item.get("rule"):
                place = f"{found['family']} {found['table']}", found["chain"]
                chain = chains.get(place, Chain(*place))
                rules = (*chain.rules, _nft_rule(found.get("expr", ())))
                chains[place] = replace(chain, rules=rules)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Invalid("nft: does not list the ruleset as JSON; is it of version 0.9.2?") from error
    return list(chains.values())


def _nft_rule(expressions: Sequence[Mapping[str, Any]]) -> Rule:
    conditions: list[Condition] = []
    for expression in expressions:
        (name, value), *_ = expression.items()
        if name == "match":
            conditions.append(_nft_condition(value))
        elif name in (*_ENDS, "return"):
            return Rule(tuple(conditions), name)
        elif name in ("jump", "goto"):
            return Rule(tuple(conditions), name, value["target"])
        elif name not in ("counter", "log", "comment"):
            conditions.append(Condition(""))
    return Rule(tuple(conditions))


def _nft_condition(match: Mapping[str, Any]) -> Condition:
    left, right = match["left"], match["right"]
    meta = left.get("meta", {}).get("key", "") if isinstance(left, Mapping) else ""
    payload = left.get("payload", {}) if isinstance(left, Mapping) else {}
    what = {"iifname": "iif", "oifname": "oif"}.get(meta, "")
    if payload.get("protocol") in ("ip", "ip6") and payload.get("field") in ("saddr", "daddr"):
        what = payload["field"]
    values = tuple(_nft_values(right))
    known = what and values and match["op"] in ("==", "!=", "in")
    return Condition(what, values, match["op"] == "!=") if known else Condition("")


def _nft_values(right: Any) -> Iterator[str]:
    if isinstance(right, str) and not right.startswith("@"):
        yield right
    elif isinstance(right, Mapping) and "prefix" in right:
        yield f"{right['prefix']['addr']}/{right['prefix']['len']}"
    elif isinstance(right, Mapping) and "set" in right:
        for element in right["set"]:
            yield from _nft_values(element)


# ---- iptables-legacy ---------------------------------------------------------------------------

_OPTIONS = {"-i": "iif", "-o": "oif", "-s": "saddr", "-d": "daddr"}


def legacy_chains(text: str, family: str) -> list[Chain]:
    """Read what ``iptables-legacy -S`` prints; *family* is "ip" or "ip6"."""
    table = f"{family}-legacy filter"
    chains: dict[str, Chain] = {}
    for line in text.splitlines():
        command, *words = shlex.split(line)
        if command not in ("-P", "-N", "-A") or not words:
            continue
        name = words[0]
        chain = chains.get(name, Chain(table, name, is_legacy=True))
        if command == "-P" and name == "FORWARD":
            chain = replace(chain, policy=words[1].lower())
        elif command == "-A":
            chain = replace(chain, rules=(*chain.rules, _legacy_rule(words[1:])))
        chains[name] = chain
    return list(chains.values())


def _legacy_rule(words: list[str]) -> Rule:
    conditions: list[Condition] = []
    is_negated = False
    while words:
        option, *words = words
        if option == "!":
            is_negated = True
            continue
        value, words = (words[0], words[1:]) if words and words[0][0] != "-" else ("", words)
        if option in ("-j", "-g"):
            verdict = value.lower()
            if verdict in (*_ENDS, "return"):
                return Rule(tuple(conditions), verdict)
            return Rule(tuple(conditions), "jump" if option == "-j" else "goto", value)
        if (option, value) != ("-m", "comment") and option != "--comment":
            what = _OPTIONS.get(option, "")
            # "cali+" is what others write as "cali*".
            name = value[:-1] + "*" if what.endswith("if") and value.endswith("+") else value
            conditions.append(Condition(what, (name,), is_negated))
        is_negated = False
    return Rule(tuple(conditions))
