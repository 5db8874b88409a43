"""What is masqueraded as rules: the only place that knows the language of nftables.

Pure: no I/O, and the same value gives the same text. Nothing but addresses of the value and names
of our devices reaches it, so no name in etcd can break it or add to it.
"""

import json
from collections.abc import Iterable

from datamodel.errors import Invalid
from datamodel.pool import Network
from route_distributor.nat.desired import Family, Nat

FAMILY, NAME = "inet", "ocicat"
TABLE = f"{FAMILY} {NAME}"

# Whoever comes first decides about a connection. As in Calico that is us; in particular we come
# before what iptables has at "srcnat".
_PRIORITY = "srcnat - 1"
# Random ports: with others in order, two pods that ask one server at once get in each other's way.
_MASQUERADE = "masquerade fully-random"


def ruleset(nat: Nat) -> str:
    """Write the transaction after which our table is as *nat* wants it, whatever it was before."""
    # To delete what is not there is an error, to add what is there is none.
    start = f"add table {TABLE}\ndelete table {TABLE}\n"
    return start if nat.is_empty else start + _table(nat)


def _table(nat: Nat) -> str:
    sets = [*_sets(4, nat.ipv4), *_sets(6, nat.ipv6)]
    rules = [
        *_outgoing("ip", 4, nat.ipv4),
        *_outgoing("ip6", 6, nat.ipv6),
        *(
            f'    oifname "{device}" fib saddr . oif type != local fib saddr type local'
            f" {_MASQUERADE}\n"
            for device in nat.tunnels
        ),
    ]
    return f"""\
table {TABLE} {{
{"".join(sets)}\
  chain postrouting {{
    type nat hook postrouting priority {_PRIORITY}; policy accept;
{"".join(rules)}\
  }}
}}
"""


def _sets(version: int, family: Family) -> list[str]:
    if not family.sources:
        return []
    return [
        _set(f"masqueraded{version}", version, family.sources),
        _set(f"pools{version}", version, family.pools),
    ]


def _set(name: str, version: int, ranges: Iterable[Network]) -> str:
    elements = ", ".join(map(str, ranges))
    return f"""\
  set {name} {{
    type ipv{version}_addr
    flags interval
    elements = {{ {elements} }}
  }}
"""


def _outgoing(protocol: str, version: int, family: Family) -> list[str]:
    if not family.sources:
        return []
    return [
        f"    {protocol} saddr @masqueraded{version} {protocol} daddr != @pools{version}"
        f" {_MASQUERADE}\n"
    ]


def listing(document: str) -> frozenset[str]:
    """The objects of a table as nft lists them in JSON, to be compared with an earlier listing.

    Raises:
        Invalid: nft said something else.
    """
    try:
        objects = json.loads(document)["nftables"]
        return frozenset(_object(*item) for each in objects for item in each.items()) - {""}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Invalid(f"nft: its listing cannot be read: {document[:80]!r}") from error


def _object(kind: str, what: dict[str, object]) -> str:
    if kind == "metainfo":
        return ""
    # Handles count what the kernel ever made: the same again has others.
    same = {key: value for key, value in what.items() if key not in ("handle", "index")}
    return f"{kind} {json.dumps(same, sort_keys=True)}"


def difference(before: frozenset[str], after: frozenset[str]) -> int:
    """How many objects are missing, other than they were, or too many."""
    return max(len(before - after), len(after - before))
