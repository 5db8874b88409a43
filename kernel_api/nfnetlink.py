"""Hears when the rules of nftables change, and in which tables.

Edge: netlink. The kernel tells of each change with the table's name, and ends what one
transaction changed with a message that counts the ruleset's generations.
"""

import errno
from dataclasses import dataclass

from kernel_api.netlink import ANNOUNCEMENTS_BUFFER, Announcements, Message, attributes

NETLINK_NETFILTER = 12
NFNLGRP_NFTABLES = 7
NFNL_SUBSYS_NFTABLES = 10
NFPROTO_INET = 1
NFT_MSG_NEWGEN = 15

_NFGENMSG = 4  # bytes: family, version, resource
_TABLE = 1  # of whatever a message is about, its first attribute names the table


@dataclass(frozen=True, slots=True)
class Table:
    """A table of nftables."""

    family: int  # NFPROTO_…
    name: str


@dataclass(frozen=True, slots=True)
class Heard:
    """What was changed since somebody last asked."""

    transactions: tuple[frozenset[Table], ...]  # the tables that each of them touched
    is_complete: bool  # else announcements went missing: anything may have changed

    def count(self, table: Table) -> int:
        """How many transactions touched a table."""
        return sum(table in touched for touched in self.transactions)


class NftablesWatch:
    """Listens in the network namespace that the thread is in when it makes it, for good."""

    def __init__(self, buffer: int = ANNOUNCEMENTS_BUFFER) -> None:
        """Listen from now on; *buffer* is how many bytes may wait to be heard."""
        self._announcements = Announcements(
            NFNLGRP_NFTABLES, protocol=NETLINK_NETFILTER, buffer=buffer
        )
        self._touched: set[Table] = set()  # by a transaction whose end is still to come

    def fileno(self) -> int:
        """The descriptor that can be read when there is something to hear."""
        return self._announcements.fileno()

    def close(self) -> None:
        """Hear no more."""
        self._announcements.close()

    def heard(self) -> Heard:
        """Tell what has changed since this was last called. Never waits."""
        transactions: list[frozenset[Table]] = []
        is_complete = True
        while True:
            try:
                for message in self._announcements.read():
                    if message.kind == NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN:
                        transactions.append(frozenset(self._touched))
                        self._touched.clear()
                    elif (table := _table(message)) is not None:
                        self._touched.add(table)
                return Heard(tuple(transactions), is_complete)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                is_complete = False


def _table(message: Message) -> Table | None:
    """The table that a message is about; ``None``: about something else."""
    name = attributes(message.payload, _NFGENMSG).get(_TABLE)
    if message.kind >> 8 != NFNL_SUBSYS_NFTABLES or name is None:
        return None
    return Table(message.payload[0], name.rstrip(b"\0").decode(errors="replace"))
