"""Sees to it that one machine at a time runs under the node's name.

Story. The claim is a key that goes with a lease: who runs keeps the lease alive, and who finds
another machine's claim waits until it ends. ``claimed_store.py`` has every transaction compare the
claim, so that a machine that slept through the end of its claim writes nothing when it wakes up.
docs/design/0003-one-machine-per-name.md says why it is so.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from datamodel.claim import Claim, Machine
from datamodel.errors import Invalid, OcicatError, Unavailable
from datastore import codec, keys
from datastore.codec_claim import decode_claim, encode_claim
from datastore.store import Change, Committed, Entry, Leases, Store

log = logging.getLogger(__name__)

TTL_S = 20  # after so long without a word a machine is held to be gone
RETRY_PAUSE_S = 1.0
LOG_AGAIN_S = 60.0  # what stands in the way
_HEARD = ", heard of "


class NameClaim:
    """This machine's claim on the node's name. Is not held before ``run`` has got it.

    Args:
        store: where names are claimed.
        leases: of the same store.
        node: the name.
        machine: who we are.
        ttl_s: see ``TTL_S``.
        clock: the time, for people to read.
    """

    def __init__(
        self,
        store: Store,
        leases: Leases,
        node: str,
        machine: Machine,
        ttl_s: int = TTL_S,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.key = keys.claim(node)
        self.revision = 0  # of the claim that we hold; 0: we hold none
        self.trouble = ""  # why we hold none
        self.regained = 0  # how often we had lost it and others may have had it meanwhile
        self._store = store
        self._leases = leases
        self._node = node
        self._machine = machine
        self._ttl_s = ttl_s
        self._clock = clock
        self._lease = 0
        self._ended = 0  # a lease that is known to be no more
        self._last_revision = 0  # of the claim that we held last
        self._flip = asyncio.Event()  # set, and replaced, when ``is_held`` has changed
        self._doubt = asyncio.Event()
        self._logged = ""
        self._logged_s = 0.0

    @property
    def is_held(self) -> bool:
        """Whether this machine runs under the name, as far as is known here."""
        return self.revision != 0

    async def changed(self) -> None:
        """Wait until ``is_held`` has changed."""
        await self._flip.wait()

    async def held(self) -> None:
        """Wait until the name is this machine's."""
        while not self.is_held:
            await self.changed()

    def lose(self, revision: int) -> None:
        """Hold no claim any more: the one that we held at *revision* was seen to be gone."""
        if revision == self.revision and self.is_held:
            self.trouble = f"node {self._node}: this machine's claim on the name has ended"
            log.warning("%s; claiming it again", self.trouble)
            self._set(0)
        self._doubt.set()

    async def run(self) -> None:
        """Get the name and keep it; never returns."""
        while True:
            pause_s = RETRY_PAUSE_S
            try:
                if not self.is_held:
                    await self._seek()
                await self._keep()
                pause_s = self._ttl_s / 3 if self.is_held else 0
            except OcicatError as error:
                self._note(str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._doubt.wait()
            self._doubt.clear()

    async def _keep(self) -> None:
        revision = self.revision
        if not await self._leases.keep_alive(self._lease):
            self._ended = self._lease
            self.lose(revision)

    async def _seek(self) -> None:
        """Take the name if nobody has it, and take over what this machine has claimed before.

        Raises:
            Unavailable: another machine runs under it, or the store does not answer.
            Invalid: nobody can read who does.
        """
        own = keys.node(self._node)
        found = (await self._store.read(self.key, own)).entries
        entry = found.get(self.key)
        if entry is not None:
            claim = decode_claim(self.key, entry.value)
            if claim.machine.is_same(self._machine) and claim.lease != self._ended:
                self._hold(entry.revision, claim.lease)
                return
            heard_s = await self._leases.kept_alive_s(claim.lease)
            if heard_s is not None and claim.lease != self._ended:
                raise Unavailable(
                    f"node {self._node}: another machine ({_who(claim.machine, found.get(own))}) "
                    f"runs under this name{_HEARD}{heard_s:.0f} s ago; give this one another "
                    "NODENAME, or stop that one"
                )
        await self._take(entry)

    async def _take(self, entry: Entry | None) -> None:
        """Claim the name, which has no claim, or one that nothing keeps alive."""
        lease = await self._leases.grant(self._ttl_s)
        value = encode_claim(Claim(self._machine, self._clock(), lease))
        expect = {self.key: entry.revision if entry else 0}
        answer = await self._store.commit(Change(expect, {self.key: value}, lease=lease))
        if not isinstance(answer, Committed):  # perhaps it is ours: an attempt had no answer
            raise Unavailable(f"node {self._node}: its name was claimed meanwhile; looking again")
        self._hold(answer.revision, lease)

    def _hold(self, revision: int, lease: int) -> None:
        if self._last_revision not in (0, revision):
            self.regained += 1
        self._last_revision, self._lease, self.trouble = revision, lease, ""
        self._logged = ""
        log.info("node %s: the name is this machine's (%s)", self._node, self._machine)
        self._set(revision)

    def _set(self, revision: int) -> None:
        self.revision = revision
        flip, self._flip = self._flip, asyncio.Event()
        flip.set()

    def _note(self, trouble: str) -> None:
        """Keep what stands in the way, and say it now and then."""
        if not self.is_held:
            self.trouble = trouble
        now, news = asyncio.get_running_loop().time(), trouble.partition(_HEARD)[0]
        if news != self._logged or now - self._logged_s >= LOG_AGAIN_S:
            self._logged, self._logged_s = news, now
            what = "its name is not kept alive" if self.is_held else "gives out no address"
            log.warning("%s: %s", what, trouble)


def _who(machine: Machine, node: Entry | None) -> str:
    """A machine, and the address that the node's resource has of it."""
    with contextlib.suppress(Invalid):
        if node is not None:
            found = codec.decode_node(node.key, node.value)
            if address := found.ipv4 or found.ipv6:
                return f"{machine}, address {address.ip}"
    return str(machine)
