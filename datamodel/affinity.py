"""Which node owns a block.

Pure: no I/O. Calico claims in two steps and marks the time between with ``pending``; we write
affinity and block in one transaction, so ours are ``confirmed`` from the start. A foreign
``pending`` or ``pendingDeletion`` is read and counts as absent for routes.
"""

from dataclasses import dataclass

from datamodel.pool import Network

CONFIRMED = "confirmed"
PENDING = "pending"
PENDING_DELETION = "pendingDeletion"


@dataclass(frozen=True, slots=True)
class Affinity:
    """*host* owns the block *cidr*, if *state* is confirmed."""

    host: str
    cidr: Network
    state: str = CONFIRMED

    @property
    def is_confirmed(self) -> bool:
        """Whether the block may be announced. Very old data has no state; it means confirmed."""
        return self.state in (CONFIRMED, "")
