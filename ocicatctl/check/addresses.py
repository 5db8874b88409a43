"""Addresses ⇔ their users: endpoints, tunnels, and what is set aside.

Pure: no I/O. The first three kinds, and how they are told apart, are calicoctl's.
"""

from collections.abc import Iterator

from datamodel.attribute import DELEGATED, GATEWAY
from datamodel.block import Address
from datastore import keys
from ocicatctl.check.cluster import Cluster, Holding
from ocicatctl.check.kernel import Links
from ocicatctl.check.problem import Kind, Problem

LOAD_BALANCER = "LoadBalancer"


def address_problems(cluster: Cluster, links: Links | None) -> Iterator[Problem]:
    """Every problem of a single address."""
    for address, holdings in cluster.held.items():
        yield from _held(cluster, address, holdings, links)
    for address, users in cluster.users.items():
        yield from _shared(cluster, address, users)
    # A pool or a block that cannot be read may be the one that an address is in.
    if not cluster.is_unreadable(keys.POOLS) and not cluster.is_unreadable(keys.ALL_BLOCKS):
        for address in cluster.users.keys() - cluster.held.keys():
            yield _unheld(cluster, address)


def is_service(holding: Holding) -> bool:
    """Whether a Kubernetes service has the address; only Kubernetes knows whether it is there."""
    return holding.fact("type") == LOAD_BALANCER


def is_delegated(cluster: Cluster, holding: Holding) -> bool:
    """Whether it is of an interface that another plugin made, on a node that exists.

    Nobody but that plugin knows whether the interface is there.
    """
    is_so = holding.fact("type") in (DELEGATED, GATEWAY)
    return is_so and holding.fact("node") in cluster.nodes


def _held(
    cluster: Cluster, address: Address, holdings: list[Holding], links: Links | None
) -> Iterator[Problem]:
    first = holdings[0]
    if len(holdings) > 1:
        blocks = " and ".join(str(holding.cidr) for holding in holdings)
        yield Problem(
            Kind.HELD_TWICE,
            f"address {address}",
            f"is held in the blocks {blocks}, which overlap; restart its pods and release it",
            address=address,
            mark=first.sequence,
        )
    is_idle = all(h.is_cooling or is_service(h) or is_delegated(cluster, h) for h in holdings)
    if address in cluster.users or is_idle:
        return
    holder = first.handle_id or "somebody without a handle"
    link = links.by_address.get(address) if links else None
    yield Problem(
        Kind.LEAKED_ADDRESS,
        f"address {address}",
        f"is held by {holder}{_for_whom(first)}, but no endpoint or tunnel uses it"
        + (f"; link {link.interface_name} has it" if link else ""),
        name=first.handle_id or "",
        cidr=first.cidr,
        address=address,
        mark=first.sequence,
    )


def _for_whom(holding: Holding) -> str:
    pod, node, kind = (holding.fact(name) for name in ("pod", "node", "type"))
    facts = [
        f"pod {holding.fact('namespace')}/{pod}" if pod else "",
        kind,
        f"node {node}" if node else "",
    ]
    return f" ({', '.join(filter(None, facts))})" if any(facts) else ""


def _shared(cluster: Cluster, address: Address, users: list[str]) -> Iterator[Problem]:
    names = list(dict.fromkeys(users))
    if len(names) > 1:
        yield Problem(
            Kind.USED_TWICE,
            f"address {address}",
            f"is used by {' and '.join(names)}; restart whichever does not hold it",
            address=address,
        )
    holdings = cluster.held.get(address)
    if holdings and all(holding.is_cooling for holding in holdings):
        yield Problem(
            Kind.USED_WHILE_COOLING,
            f"address {address}",
            f"is used by {names[0]}, but was released; restart it",
            address=address,
        )


def _unheld(cluster: Cluster, address: Address) -> Problem:
    user = cluster.users[address][0]
    if any(address in pool.cidr for pool in cluster.pools if not pool.disabled):
        return Problem(
            Kind.NOT_ALLOCATED,
            f"address {address}",
            f"is used by {user}, but nobody holds it and it may be given away; restart it",
            address=address,
        )
    return Problem(
        Kind.OUTSIDE_POOLS,
        f"address {address}",
        f"is used by {user}, but is in no enabled pool; enable or create one",
        address=address,
    )
