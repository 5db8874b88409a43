"""What etcd says about addresses: pools, blocks, reservations and IPAM config, decoded.

Pure: no I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from datamodel.block import Block
from datamodel.errors import Invalid
from datamodel.ipam_config import IpamConfig
from datamodel.pool import Pool
from datamodel.reservation import Reservations
from datastore import keys
from datastore.codec import decode_block, decode_ipam_config, decode_pool, decode_reservations
from datastore.store import Entry
from ocicatctl.entries import decoded

# What a plan is made of, besides blocks.
RANGES = (keys.POOLS, keys.RESERVATIONS, keys.IPAM_CONFIG)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything of it that can be read, and what is wrong with the rest."""

    pools: tuple[Pool, ...] = ()  # in the order of their keys
    blocks: tuple[Block, ...] = ()  # without the cooldowns that are over
    reservations: Reservations = field(default_factory=Reservations)
    config: IpamConfig = field(default_factory=IpamConfig)
    wrong_pools: tuple[str, ...] = ()
    wrong_config: tuple[str, ...] = ()
    others_wrong: tuple[str, ...] = ()  # blocks and reservations

    @property
    def mistakes(self) -> list[str]:
        """Everything that cannot be read, one line each."""
        return [*self.wrong_pools, *self.others_wrong, *self.wrong_config]

    @classmethod
    def of(cls, entries: Mapping[str, Entry], now: datetime) -> "Plan":
        """Read the plan from *entries*; keys that are no part of it do not matter."""
        ordered = [entry for _, entry in sorted(entries.items())]
        pools, wrong_pools = decoded(
            (e for e in ordered if e.key.startswith(keys.POOLS)),
            lambda e: decode_pool(e.key, e.value),
        )
        blocks, wrong_blocks = decoded(
            (e for e in ordered if e.key.startswith(keys.ALL_BLOCKS)),
            lambda e: decode_block(e.key, e.value),
        )
        reservations, wrong_reservations = decode_reservations(
            (e.key, e.value) for e in ordered if e.key.startswith(keys.RESERVATIONS)
        )
        config, wrong_config = config_in(entries)
        return cls(
            tuple(pools),
            tuple(block.collected(now, config.ip_cooldown_s) for block in blocks),
            reservations,
            config,
            tuple(wrong_pools),
            tuple(wrong_config),
            (*wrong_blocks, *wrong_reservations),
        )


def config_in(entries: Mapping[str, Entry]) -> tuple[IpamConfig, list[str]]:
    """The IPAM config, and what is wrong with it; one that cannot be read counts as absent."""
    entry = entries.get(keys.IPAM_CONFIG)
    try:
        return decode_ipam_config(entry.value if entry else None), []
    except Invalid as error:
        return IpamConfig(), [str(error)]
