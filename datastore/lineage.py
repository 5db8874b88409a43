"""Is an answer of the store that answered before? What etcd's response headers tell.

Pure: no I/O. ``etcd_session.py`` asks. A store that was restored from a backup or made anew
answers as if nothing had happened; only its cluster id, raft term and revision give it away.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Header:
    """What etcd says about itself with every answer."""

    cluster_id: int
    term: int
    revision: int


@dataclass(frozen=True, slots=True)
class Lineage:
    """The newest that the store has shown of itself.

    Compare an answer with the lineage as it was when the **request was sent**: answers to
    concurrent requests may overtake each other, so a revision lower than the newest one seen
    means nothing in itself.
    """

    cluster_id: int = 0  # 0: nothing seen yet
    term: int = 0
    revision: int = 0
    epoch: int = 0  # how often the store has turned out to be another one

    def is_stale(self, header: Header) -> bool:
        """The answer is of a member that missed an election, or of a store that was restored."""
        return header.cluster_id == self.cluster_id and header.term < self.term

    def is_other(self, header: Header) -> bool:
        """The answer cannot be of the same store: another cluster id, or an older revision."""
        return self.cluster_id not in (0, header.cluster_id) or header.revision < self.revision

    def joined(self, header: Header) -> "Lineage":
        """The lineage after one more answer of the same store."""
        return Lineage(
            header.cluster_id,
            max(self.term, header.term),
            max(self.revision, header.revision),
            self.epoch,
        )

    def replaced(self, header: Header) -> "Lineage":
        """The lineage of the other store that gave this answer."""
        return Lineage(header.cluster_id, header.term, header.revision, self.epoch + 1)
