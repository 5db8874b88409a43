"""NAT as a part of routing: one table of nftables of our own, and nobody else's.

Story. The table is replaced as a whole by one transaction. While nobody disturbs it, it is not
looked at: the kernel tells of every change of its rules and by that of foreign ones.
"""

from collections.abc import Callable

from datamodel.errors import Unavailable
from kernel_api.nfnetlink import NFPROTO_INET, NftablesWatch, Table
from route_distributor.nat.desired import Nat, desired
from route_distributor.nat.nft import Nft
from route_distributor.nat.ruleset import NAME, difference, ruleset
from route_distributor.part import Applied
from route_distributor.readable import readable
from route_distributor.snapshot import ClusterSnapshot

_OURS = Table(NFPROTO_INET, NAME)
_NOTHING: frozenset[str] = frozenset()


class NatPart:
    """Keeps our table at what the pools say."""

    name = "nat"

    def __init__(
        self, nft: Nft, begin_to_listen: Callable[[], NftablesWatch] = NftablesWatch
    ) -> None:
        self._nft = nft
        self._begin_to_listen = begin_to_listen
        self._watch: NftablesWatch | None = None
        self._written: Nat | None = None  # None: what the table holds is not known
        self._listed: frozenset[str] | None = None  # how the kernel lists what we wrote
        self._is_in_doubt = False  # somebody else may have changed the table since

    async def apply(self, snapshot: ClusterSnapshot) -> Applied:
        """Make the table as *snapshot* wants it.

        Raises:
            Unavailable: nft or the kernel refuses; the table is as it was.
        """
        wanted = desired(snapshot)
        self._listen()
        if wanted == self._written and not self._is_in_doubt:
            return Applied()
        damage = 1
        if wanted == self._written or wanted.is_empty:
            # What is heard from here on comes after the listing, and is looked into the next time.
            self._is_in_doubt = False
            damage = await self._damage(wanted)
        if damage:
            await self._write(wanted)
        return Applied(damage)

    async def disturbed(self) -> None:
        """Wait until somebody else may have changed the table."""
        while not self._is_in_doubt:
            await readable(self._listening.fileno())
            self._listen()

    def close(self) -> None:
        """Listen no more; the table stays."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    @property
    def _listening(self) -> NftablesWatch:
        if self._watch is None:
            try:
                self._watch = self._begin_to_listen()
            except OSError as error:
                why = error.strerror or error
                raise Unavailable(
                    f"nftables: the kernel does not tell of it: {why}; load the module nf_tables"
                ) from error
        return self._watch

    def _listen(self) -> None:
        heard = self._listening.heard()
        if heard.count(_OURS) or not heard.is_complete:
            self._is_in_doubt = True

    async def _damage(self, wanted: Nat) -> int:
        """How much of the table is not as *wanted*, which was written last or is nothing."""
        try:
            now = await self._nft.table()
        except BaseException:
            self._is_in_doubt = True
            raise
        before = _NOTHING if wanted.is_empty else self._listed
        damage = difference(before or _NOTHING, now or _NOTHING)
        if not damage:
            self._written = wanted
        return damage

    async def _write(self, wanted: Nat) -> None:
        self._written = None
        await self._nft.transact(ruleset(wanted))
        self._listed = await self._nft.table()
        # One transaction was ours. If there are more, what was listed may be somebody else's.
        heard = self._listening.heard()
        is_sure = heard.is_complete and heard.count(_OURS) <= 1
        self._is_in_doubt = not is_sure
        self._written = wanted if is_sure else None
