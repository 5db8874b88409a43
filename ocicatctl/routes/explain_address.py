"""Who has an address, by which way a packet from here gets there, and what is wrong with that.

Pure: no I/O.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bird_api.routes import BirdRoute
from datamodel.affinity import Affinity
from datamodel.block import Address, Attribute, Block
from datamodel.pool import Network
from kernel_api.lookup import KernelRoute
from kernel_api.rtnetlink import RT_TABLE_MAIN
from ocicatctl.routes.explain import DROPS, Finding, explain
from ocicatctl.routes.facts import Destination, View


@dataclass(frozen=True, slots=True)
class AddressFacts:
    """What etcd, BIRD and the kernel say about one address."""

    address: Address
    view: View
    block: Network | None  # that has it
    read: Block | None  # the same, if it can be read
    affinity: Affinity | None  # of the block's node
    paths: Sequence[BirdRoute]  # by which BIRD would send to it, the best one first
    used: KernelRoute | None  # by which the kernel sends to it
    refusal: str = ""  # what the kernel says instead

    @property
    def holder(self) -> Attribute | None:
        """Who holds it; one that cools down is held by nobody."""
        found = self.read.holder_of(self.address) if self.read else None
        return found if found and found.released_at is None else None

    @property
    def dropping(self) -> KernelRoute | None:
        """The route that makes the kernel refuse it, if it is one of the main table."""
        over = [
            r for r in self.view.kernel.routes if self.used is None and self.address in r.network
        ]
        found = max(over, key=lambda route: route.network.prefixlen, default=None)
        return found if found and found.kind in DROPS else None

    @property
    def destination(self) -> Destination | None:
        """What is routed: its block, or it alone; ``None`` if it is in no block."""
        if self.block is None:
            return None
        host = self.read.host if self.read else None
        node = self.holder.node if self.holder else None
        if node and node != host:
            cidr = type(self.block)((int(self.address), self.address.max_prefixlen))
            return Destination(cidr, node, None, self.block, host)
        return Destination(self.block, host, self.affinity.state if self.affinity else None)


@dataclass(frozen=True, slots=True)
class AddressFinding:
    """One address, with all that there is about it."""

    facts: AddressFacts
    routed: Finding | None  # what it is part of
    problems: tuple[str, ...]


def explain_address(facts: AddressFacts) -> AddressFinding:
    """Say who has it, what this node does with packets to it, and what is wrong."""
    destination = facts.destination
    if destination is None:
        return AddressFinding(facts, None, tuple(_outside_problems(facts)))
    if facts.read is None:
        wrong = f"block {facts.block} cannot be read: nobody can say who has the address"
        return AddressFinding(facts, None, (wrong,))
    routed = explain(destination, facts.view)
    problems = routed.problems or tuple(_lookup_problems(facts, routed))
    return AddressFinding(facts, routed, problems)


def _outside_problems(facts: AddressFacts) -> Iterator[str]:
    if facts.view.name_of(facts.address) is None:
        yield "it is in no block: no node has it, and nobody tells of it"
    elif facts.used is None:
        yield f"the kernel sends nothing there: {facts.refusal}"


def _lookup_problems(facts: AddressFacts, routed: Finding) -> Iterator[str]:
    """Whether the kernel uses the route that it has for it."""
    view, used = facts.view, facts.used
    if view.stranger:
        return
    if routed.destination.node == view.node:
        if facts.holder is not None and not _leads_to_pod(used):
            yield "it is held on this node, but no link here has it; see ocicatctl ipam check"
        return
    wanted = routed.kernel[0] if routed.kernel else None
    if used is None:
        yield f"the kernel sends nothing there: {facts.refusal}"
    elif wanted and (used.network, used.hops) != (wanted.network, wanted.hops):
        table = f" in table {used.table}" if used.table != RT_TABLE_MAIN else ""
        yield f"another route{table} catches it: {used}"


def _leads_to_pod(used: KernelRoute | None) -> bool:
    """Its own route to a pod's link; or it is an address of this node, as of a tunnel device."""
    if used is None:
        return False
    is_single = used.network.prefixlen == used.network.max_prefixlen
    return used.kind == "local" or (is_single and used.kind == "unicast")
