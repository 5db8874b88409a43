"""Why a node gets no address: what ipamd answers, and what ``ipam explain`` foretells.

Pure: no I/O. Every text names what stands in the way and says what to do about it.
"""

from collections.abc import Sequence

from datamodel.ipam_config import IpamConfig
from datamodel.pool import Pool
from datamodel.reservation import Reservations


def no_addresses(reasons: Sequence[str]) -> str:
    """The whole refusal."""
    return f"no addresses: {'; '.join(reasons)}"


def no_pool(version: int) -> str:
    """Why, if no pool of the family is there at all."""
    return f"there is no IPv{version} pool; create one with ocicatctl create -f"


def may_not_claim(node: str, config: IpamConfig, owned: int) -> str | None:
    """Why a node that owns so many blocks of a family may not have another one, if it may not."""
    if owned >= config.block_limit:
        return (
            f"node {node} has reached the limit of {config.block_limit} blocks; raise it "
            "with ocicatctl ipam configure --max-blocks-per-host"
        )
    if not config.auto_allocate_blocks:
        return (
            "auto_allocate_blocks is off and this node's blocks are full; "
            "allow new blocks with ocicatctl ipam configure"
        )
    return None


def full(pool: Pool, node: str, own: int, config: IpamConfig, reservations: Reservations) -> str:
    """Why a pool of which the node owns so many blocks has none for it."""
    if reservations.covers(pool.cidr):
        return f"{pool}: is reserved as a whole; change the IPReservation or add a pool"
    others = "" if config.strict_affinity else " and no other block has room"
    reserved, remedy = "", "release addresses or add a pool"
    if reservations.touches(pool.cidr):
        reserved, remedy = " or reserved", "release addresses, reserve fewer, or add a pool"
    return (
        f"{pool}: all {pool.block_count} blocks are claimed{reserved} and the {own} of node "
        f"{node} are full{others}; {remedy}"
    )
