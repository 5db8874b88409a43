"""The topology for people at a terminal: tables.

Pure: no I/O.
"""

from dataclasses import replace

from ocicatctl.routes.facts import encapsulation_text
from ocicatctl.table import columns
from ocicatctl.topology.drawing import fitting
from ocicatctl.topology.model import UP, BlockFill, Topology
from ocicatctl.topology.picture import notes

MOST_SESSIONS = 60  # of more than these only those are listed that are not up
WIDEST = 60  # characters in a column

_NODES = ("NODE", "AS", "ADDRESSES", "REFLECTS", "TUNNELS", "NOTE")
_BLOCKS = ("BLOCK", "NODE", "IN USE", "RESERVED", "FREE", "LENT", "NOTE")
_SESSIONS = ("NODE", "PEER", "ADDRESS", "ASKED FOR BY", "STATE", "INFO")
_POOLS = ("POOL", "CIDR", "IN USE", "BLOCKS", "TUNNEL", "NAT", "DISABLED")


def text(topology: Topology) -> str:
    """All of it; tables without a line are left out, and what the command tells anyway."""
    tables = [
        (_POOLS, _pools(topology)),
        (_NODES, _nodes(topology)),
        (_BLOCKS, _blocks(topology)),
        (_SESSIONS, _sessions(topology)),
    ]
    shown = [topology.summary + "\n"]
    shown += [columns(header, rows) for header, rows in tables if rows]
    if found := notes(replace(topology, problems=())):
        shown.append("".join(f"{_line(note)}\n" for note in found))
    return "\n".join(shown)


def _nodes(topology: Topology) -> list[list[str]]:
    return [
        [
            _cell(place.name),
            str(place.as_number or "-"),
            ", ".join(place.addresses) or "-",
            _cell(place.cluster_id or "-"),
            ", ".join(f"{device} {address}" for device, address in place.tunnels) or "-",
            place.problem,
        ]
        for place in topology.places
    ]


def _blocks(topology: Topology) -> list[list[str]]:
    owned = [(block, place.name) for place in topology.places for block in place.blocks]
    return [_block(*found) for found in [*owned, *((b, "nobody") for b in topology.strays)]]


def _block(block: BlockFill, owner: str) -> list[str]:
    lent = ", ".join(f"{count} to {node}" for node, count in block.lent)
    counts = block.counts
    cells = (
        [f"{counts.in_use}/{counts.total}", str(counts.reserved), str(counts.free)]
        if counts
        else ["-", "-", "-"]
    )
    return [str(block.cidr), _cell(owner), *cells, _cell(lent or "-"), _cell(block.note)]


def _sessions(topology: Topology) -> list[list[str]]:
    every = topology.sessions
    some = every if len(every) <= MOST_SESSIONS else [end for end in every if end.state != UP]
    rows = [
        [
            _cell(end.node),
            _cell(end.other),
            str(end.address),
            _cell(end.why or ("mesh" if end.is_wanted else "nobody")),
            end.state,
            _cell(end.info),
        ]
        for end in some[:MOST_SESSIONS]
    ]
    more = len(some) - len(rows)
    return [*rows, [f"… and {more} more", *[""] * (len(_SESSIONS) - 1)]] if more else rows


def _pools(topology: Topology) -> list[list[str]]:
    return [
        [
            _cell(fill.pool.name),
            str(fill.pool.cidr),
            f"{fill.counts.in_use}/{fill.counts.total}",
            f"{fill.block_count}/{fill.pool.block_count} of /{fill.pool.block_size}",
            "two" if fill.pool.is_contradictory else encapsulation_text(fill.pool),
            "yes" if fill.pool.nat_outgoing else "no",
            "yes" if fill.pool.disabled else "no",
        ]
        for fill in topology.pools
    ]


def _cell(content: str) -> str:
    return _line(fitting(content, WIDEST))


def _line(content: str) -> str:
    """What somebody wrote into etcd moves no cursor."""
    return "".join(c if c.isprintable() else " " for c in content)
