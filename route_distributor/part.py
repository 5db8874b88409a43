"""What routing on a node is made of, each a part that is brought to what the cluster wants.

Parts do not know of each other: BIRD (``bird/``), tunnels and their routes (``overlay/``),
NAT (``nat/``). ``agent.py`` runs them.
"""

from dataclasses import dataclass
from typing import Protocol

from route_distributor.snapshot import ClusterSnapshot


@dataclass(frozen=True, slots=True)
class Applied:
    """What bringing a part up to date came to."""

    changed: int = 0  # how many things were made, replaced or removed
    problems: tuple[str, ...] = ()  # what was left out, and why; everything else is done


class Part(Protocol):
    """One owner of one class of things in the kernel, or in a process."""

    @property
    def name(self) -> str:
        """In logs and metrics: "bird", "overlay", "nat"."""

    async def apply(self, snapshot: ClusterSnapshot) -> Applied:
        """Compare what is there with what *snapshot* wants, and make it so.

        Called again it changes nothing, unless somebody else did meanwhile.

        Raises:
            Unavailable: to be repeated though the snapshot stays the same.
            Invalid: not before something changes.
        """

    async def disturbed(self) -> None:
        """Wait until somebody else may have changed what this part owns. May be cancelled.

        Never called during ``apply``: what is heard is judged by what should be.
        """
