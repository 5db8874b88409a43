"""What ``upgrade host-local`` reserves, and what speaks against ipamd's taking over addresses.

Pure: no I/O. Decided on host-local's ranges and containers, and on the store.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, summarize_address_range
from typing import Any

from datamodel.block import Address, Block
from datamodel.errors import Invalid
from datamodel.pool import BLOCK_SIZES, Network, Pool
from datastore import keys
from datastore.codec import Stamp, decode_block, decode_pool, load
from datastore.known import Known
from datastore.store import Decision, Entry
from ocicatctl.entries import decoded
from ocicatctl.resources.change import Outcome, decide_delete, decide_write
from ocicatctl.resources.kinds import RESERVATION
from ocicatctl.resources.manifest import Resource, Verb
from ocicatctl.upgrade.containers import Container
from ocicatctl.upgrade.host_local import Range

# ---- what is reserved --------------------------------------------------------------------------

_NETWORK = "ocicat/host-local-network"  # annotation: the network whose upgrade needs it


def reserved_during(ranges: Sequence[Range]) -> list[str]:
    """What ipamd must not give out by itself as long as host-local may: the subnets."""
    return [str(network) for network in _collapsed(some.subnet for some in ranges)]


def reserved_after(ranges: Sequence[Range]) -> list[str]:
    """What must stay reserved while containers of the old plugin run.

    The gateways, which the host's links have; and what lies beside the ranges: the first and last
    address of a bridge's network are broadcast addresses to the kernel, others may be anybody's.
    """
    found: list[Network] = [_single(some.gateway) for some in ranges]
    for subnet in {some.subnet for some in ranges}:
        inside = sorted((int(r.first), int(r.last)) for r in ranges if r.subnet == subnet)
        start, end = int(subnet.network_address), int(subnet.broadcast_address)
        for first, last in (*inside, (end + 1, end + 1)):
            found += _between(subnet, start, first - 1)
            start = max(start, last + 1)
    return [str(network) for network in _collapsed(found)]


def _between(subnet: Network, first: int, last: int) -> Iterator[Network]:
    if first <= last:
        base, start = subnet.network_address, int(subnet.network_address)
        yield from summarize_address_range(base + (first - start), base + (last - start))


def _single(address: Address) -> Network:
    return IPv4Network(address) if address.version == 4 else IPv6Network(address)


def _collapsed(networks: Iterable[Network]) -> list[Network]:
    some = list(networks)
    v4 = [n for n in some if isinstance(n, IPv4Network)]
    v6 = [n for n in some if isinstance(n, IPv6Network)]
    return [*collapse_addresses(v4), *collapse_addresses(v6)]


def reservation(node: str, network: str, cidrs: Sequence[str] = ()) -> Resource:
    """The IPReservation of a node's upgrade."""
    return Resource(
        RESERVATION,
        f"host-local-{node}",
        annotations={_NETWORK: network},
        spec={"reservedCIDRs": list(cidrs)},
    )


def decide_reserve(resource: Resource, stamp: Stamp, known: Known) -> Decision[Outcome]:
    """Write the reservation, whether it exists or not.

    Raises:
        Invalid: it is there for another network.
    """
    _check_network(resource, known)
    return decide_write(Verb.APPLY, resource, stamp, known)


def decide_unreserve(resource: Resource, known: Known) -> Decision[Outcome]:
    """Delete the reservation; none is success.

    Raises:
        Invalid: it is there for another network.
    """
    _check_network(resource, known)
    return decide_delete(resource, known)


def _check_network(resource: Resource, known: Known) -> None:
    if resource.key not in known or (entry := known[resource.key]) is None:
        return
    metadata: Any = load(entry.key, entry.value).get("metadata") or {}
    network = (metadata.get("annotations") or {}).get(_NETWORK)
    if network not in (None, resource.annotations[_NETWORK]):
        raise Invalid(
            f"{resource.title}: is there for network {network}; finish the upgrade of that first"
        )


# ---- whether ipamd can take the addresses ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store says of pools and blocks."""

    pools: tuple[Pool, ...]
    blocks: Mapping[Network, Block]
    mistakes: tuple[str, ...] = ()


def pools_in(entries: Iterable[Entry]) -> Stored:
    """Read the enabled pools."""
    pools, mistakes = decoded(entries, lambda e: decode_pool(e.key, e.value))
    return Stored(tuple(p for p in pools if not p.disabled), {}, tuple(mistakes))


def block_keys(stored: Stored, containers: Iterable[Container]) -> list[str]:
    """The blocks of the containers' addresses."""
    addresses = [address for container in containers for address in container.addresses]
    return sorted({keys.block(p.block_of(a)) for a in addresses if (p := _pool(stored, a))})


def with_blocks(stored: Stored, entries: Iterable[Entry]) -> Stored:
    """The same with the blocks that were read."""
    blocks, mistakes = decoded(entries, lambda e: decode_block(e.key, e.value))
    by_cidr = {block.cidr: block for block in blocks}
    return Stored(stored.pools, by_cidr, (*stored.mistakes, *mistakes))


def problems(
    stored: Stored, containers: Sequence[Container], ranges: Sequence[Range], node: str
) -> list[str]:
    """Everything that speaks against ipamd's taking over the addresses; each thing once."""
    subnets = _collapsed(some.subnet for some in ranges)
    found = list(stored.mistakes)
    for container in containers:
        found += _family_problems(container)
        for address in container.addresses:
            found += _address_problems(stored, container, address, subnets, node)
    if not any(container.addresses for container in containers):
        # Of two families one may be meant to end with the old plugin.
        served = [n for n in subnets if _pool(stored, n.network_address)]
        for subnet in served or subnets:
            found += _place_problems(stored, subnet.network_address, subnets)
    return list(dict.fromkeys(found))


def _family_problems(container: Container) -> Iterator[str]:
    for version in (4, 6):
        some = [str(a) for a in container.addresses if a.version == version]
        if len(some) > 1:
            yield (
                f"{container.title}: has {len(some)} IPv{version} addresses, and ipamd holds one "
                "of each family for an interface; delete its pod"
            )


def _address_problems(
    stored: Stored, container: Container, address: Address, subnets: Sequence[Network], node: str
) -> Iterator[str]:
    pool = _pool(stored, address)
    if pool is None and not any(address in subnet for subnet in subnets):
        yield (
            f"{container.title}: is in no enabled pool and in no range of host-local; "
            "delete its pod"
        )
        return
    yield from _place_problems(stored, address, subnets)
    if pool is None:
        return
    cidr = pool.block_of(address)
    block = stored.blocks.get(cidr)
    if block is None:
        return
    if block.host != node:
        owner = f"node {block.host}'s" if block.host else "nobody's"
        yield (
            f"block {cidr}: is {owner}, and {container.title} is in it; addresses of it may be in "
            "use twice: delete the pods there that have them, or this one"
        )
    holder = block.holder_of(address)
    if holder and holder.released_at is None and holder.handle_id != container.attachment.handle_id:
        pod = f" ({holder.pod})" if holder.pod else ""
        yield (
            f"{container.title}: is held by {holder.handle_id or 'somebody without a handle'}, "
            f"too{pod}; delete one of the pods"
        )


def _place_problems(stored: Stored, address: Address, subnets: Sequence[Network]) -> Iterator[str]:
    """What speaks against giving out the address's range, whoever holds it."""
    pool = _pool(stored, address)
    if pool is None:
        where = next(n for n in subnets if address in n)
        yield f"range {where}: is in no enabled pool; create one that has it, {_block_size(where)}"
        return
    cidr = pool.block_of(address)
    if not any(_lies_in(cidr, subnet) for subnet in subnets):
        ranges = ", ".join(map(str, subnets))
        yield (
            f"{pool}: its block {cidr} reaches beyond host-local's {ranges}, so that ipamd would "
            f"give out what another node's host-local gives out; make the pool anew, "
            f"{_block_size(subnets[0])}"
        )


def _block_size(subnet: Network) -> str:
    """Which blocks lie in the subnet as a whole."""
    return f"with blockSize {max(subnet.prefixlen, BLOCK_SIZES[subnet.version].start)} or more"


def _pool(stored: Stored, address: Address) -> Pool | None:
    return next((p for p in stored.pools if address in p.cidr), None)


def _lies_in(cidr: Network, subnet: Network) -> bool:
    return (
        cidr.version == subnet.version
        and cidr.prefixlen >= subnet.prefixlen
        and cidr.network_address in subnet
    )
