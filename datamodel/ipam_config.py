"""How the whole cluster hands out addresses: Calico's IPAM config.

Pure: no I/O. Field meanings and rules are Calico's. The rules concern whoever sets a config; one
that is stored is obeyed as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from datamodel.errors import Invalid

DEFAULT_MAX_BLOCKS = 20  # of a node, by family, if the config does not say
COOLDOWNS_S = range(1201)


@dataclass(frozen=True, slots=True)
class IpamConfig:
    """The settings; the defaults are what Calico does where there is no config at all."""

    strict_affinity: bool = False  # nodes take no address of a block that is another's
    auto_allocate_blocks: bool = True  # nodes may claim blocks
    max_blocks_per_host: int = 0  # by family; 0: the default
    ip_cooldown_s: int = 0  # how long a released address rests
    extra: Mapping[str, Any] = field(default_factory=dict)  # fields of newer Calicos, as read

    @property
    def block_limit(self) -> int:
        """How many blocks of one family a node may own."""
        return self.max_blocks_per_host if self.max_blocks_per_host > 0 else DEFAULT_MAX_BLOCKS

    def mistakes(self) -> list[str]:
        """Name everything that Calico would refuse to set; empty if it is right."""
        found = []
        if not self.strict_affinity and not self.auto_allocate_blocks:
            found.append(
                "strict_affinity and auto_allocate_blocks are both off, so that nodes would only "
                "borrow; turn one on"
            )
        if self.max_blocks_per_host < 0:
            found.append(f"maxBlocksPerHost {self.max_blocks_per_host} is negative")
        if self.max_blocks_per_host > 0 and not self.strict_affinity:
            found.append(
                f"maxBlocksPerHost {self.max_blocks_per_host} needs strict_affinity; turn it on"
            )
        if self.ip_cooldown_s not in COOLDOWNS_S:
            found.append(f"ipCooldownSeconds {self.ip_cooldown_s} is not in 0..{COOLDOWNS_S[-1]}")
        return found

    def checked(self) -> "IpamConfig":
        """Return the config itself if it may be set.

        Raises:
            Invalid: with every mistake.
        """
        if found := self.mistakes():
            raise Invalid(f"IPAM config: {'; '.join(found)}")
        return self
