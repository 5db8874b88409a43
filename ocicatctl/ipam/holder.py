"""Who holds one address, as ``ipam show --ip`` says it.

Pure: no I/O. Words and order are those of calicoctl since 3.32.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from datamodel.block import Address, Attribute
from ocicatctl.ipam.plan import Plan

_ALTERNATE = "alternateOwnerAttrs"


@dataclass(frozen=True, slots=True)
class Holder:
    """What the block says about the address."""

    address: Address
    attribute: Attribute | None  # None: free, or of no block
    is_in_pool: bool  # an enabled one
    rests_until: datetime | None = None  # set if it cools down
    is_unknown: bool = False  # its block cannot be read

    @classmethod
    def of(cls, address: Address, plan: Plan, *, is_unknown: bool = False) -> "Holder":
        """Look the address up in a plan that has its block, if that can be read."""
        attribute = next((a for b in plan.blocks if (a := b.holder_of(address))), None)
        pools = [pool for pool in plan.pools if pool.cidr.version == address.version]
        is_in_pool = any(address in pool.cidr and not pool.disabled for pool in pools)
        released_at = attribute.released_at if attribute else None
        rest = timedelta(seconds=plan.config.ip_cooldown_s)
        rests_until = released_at and released_at + rest
        return cls(address, attribute, is_in_pool, rests_until, is_unknown)

    @property
    def is_assigned(self) -> bool | None:
        """Whether somebody holds it; ``None``: nobody can say."""
        return None if self.is_unknown else self.attribute is not None and self.rests_until is None

    @property
    def text(self) -> str:
        """As calicoctl says it: an address in no enabled pool is not assigned."""
        attribute = self.attribute
        if self.is_unknown:
            return f"{self.address} may be assigned: its block cannot be read\n"
        if attribute is None:
            return f"{self.address} is not assigned\n"
        if attribute.released_at and self.rests_until:
            return (
                f"{self.address} is not assigned\n"
                f"Released at: {as_time(attribute.released_at)}, "
                f"cooling down until {as_time(self.rests_until)}\n"
            )
        if not self.is_in_pool:
            return (
                f"{self.address} is not assigned\n"
                f"Handle {attribute.handle_id or '<none>'} holds it, but it is in no enabled pool; "
                f"see ocicatctl ipam explain {self.address}\n"
            )
        active = _listed("Active Owner Attributes", attribute.secondary)
        return (
            f"IP {self.address} is in use\n"
            f"Handle ID: {attribute.handle_id or '<none>'}\n"
            f"{active or 'No Active Owner attributes defined' + chr(10)}"
            f"{_listed('Alternate Owner Attributes', attribute.extra.get(_ALTERNATE))}"
        )

    @property
    def document(self) -> dict[str, Any]:
        """The same for programs."""
        attribute = self.attribute
        released_at = attribute.released_at if attribute else None
        return {
            "ip": str(self.address),
            "isAssigned": self.is_assigned,
            "isInEnabledPool": self.is_in_pool,
            "handleID": attribute.handle_id if attribute else None,
            "activeOwnerAttributes": dict((attribute and attribute.secondary) or {}),
            "alternateOwnerAttributes": dict((attribute and attribute.extra.get(_ALTERNATE)) or {}),
            "releasedAt": released_at and as_time(released_at),
            "coolingDownUntil": self.rests_until and as_time(self.rests_until),
        }


def as_time(time: datetime) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def _listed(title: str, facts: Mapping[str, str] | None) -> str:
    if not facts:
        return ""
    lines = (f"  {key}: {facts[key]}\n" for key in sorted(facts))
    return f"{title}:\n{''.join(lines)}"
