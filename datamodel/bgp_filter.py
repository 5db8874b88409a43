"""Which routes a BGP session takes and gives: Calico's BGPFilter.

Pure: no I/O.
"""

from dataclasses import dataclass

from datamodel.pool import Network


@dataclass(frozen=True, slots=True)
class Operation:
    """What an accepting rule does to a route; exactly one of the three is set."""

    add_community: str | None = None
    prepend_as_path: tuple[int, ...] = ()
    set_priority: int | None = None


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


@dataclass(frozen=True, slots=True)
class BgpFilter:
    """Rules by direction and family; a route that none decides goes on to ours."""

    name: str
    export_v4: tuple[FilterRule, ...] = ()
    import_v4: tuple[FilterRule, ...] = ()
    export_v6: tuple[FilterRule, ...] = ()
    import_v6: tuple[FilterRule, ...] = ()
