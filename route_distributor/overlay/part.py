"""The tunnels of this node, kept as the cluster wants them: find, compare, do; and look out.

Story. Every pass takes the whole state, so one too many changes nothing.
"""

import asyncio
from collections.abc import Callable

from datamodel.errors import Unavailable
from kernel_api.netlink import Announcements
from kernel_api.rtnetlink import Address
from route_distributor.overlay import kernel
from route_distributor.overlay.desired import overlay
from route_distributor.overlay.difference import difference
from route_distributor.overlay.remote import Remote
from route_distributor.overlay.watch import GROUPS, Watched, is_disturbed
from route_distributor.part import Applied
from route_distributor.readable import readable
from route_distributor.snapshot import ClusterSnapshot


class OverlayPart:
    """The owner of tunnel devices, of what is on them, and of routes with our protocol.

    It lives in the network namespace that the thread is in which makes it.
    """

    name = "overlay"

    def __init__(self, remote: Callable[[], Remote | None]) -> None:
        """Take what tells what other nodes have; ``None`` as long as that is not known."""
        self._remote = remote
        self._announcements = Announcements(*GROUPS)
        self._watched = Watched()

    async def apply(self, snapshot: ClusterSnapshot) -> Applied:
        """Make the tunnels what *snapshot* wants.

        Before it is known what other nodes have, devices are made and nothing is removed: BIRD
        needs the devices, and whoever has routes keeps them.

        Raises:
            Unavailable: that is not known yet, or the kernel refused something that it may take
                when asked again. Everything else is done.
        """
        remote = self._remote()
        applied, refused, self._watched = await asyncio.to_thread(_bring, snapshot, remote)
        if remote is None:
            refused = ("etcd has not yet said what other nodes have", *refused)
        if refused:
            raise Unavailable(f"overlay: {'; '.join(refused)}")
        return applied

    async def disturbed(self) -> None:
        """Wait until somebody else may have changed what this part owns. May be cancelled."""
        while not self._was_disturbed():
            await readable(self._announcements.fileno())

    def _was_disturbed(self) -> bool:
        try:
            return is_disturbed(self._watched, self._announcements.read())
        except OSError:  # some went missing
            return True

    def close(self) -> None:
        """Let go of the socket; the tunnels stay."""
        self._announcements.close()


def _bring(
    snapshot: ClusterSnapshot, remote: Remote | None
) -> tuple[Applied, tuple[str, ...], Watched]:
    """Do one pass; say what came of it, what was refused for now, and what to look out for."""
    addresses = _addresses(snapshot)
    with kernel.opened() as here:
        by_version = here.uplinks(addresses)
        uplinks = tuple(by_version.values())
        wanted = overlay(snapshot, Remote() if remote is None else remote, by_version)
        todo = difference(wanted, here.find(uplinks, wanted.sysctls))
        if remote is None:
            todo = todo.without_removal()
        done = here.do(todo, uplinks)
        devices = {index: name for name, index in here.indexes().items()}
    problems = (*wanted.problems, *todo.problems, *done.lasting)
    watched = Watched(wanted, devices, uplinks, addresses)
    return Applied(done.changed, problems), tuple(done.refused), watched


def _addresses(snapshot: ClusterSnapshot) -> frozenset[Address]:
    """The node's own."""
    if snapshot.own is None:
        return frozenset()
    found = (snapshot.own.ipv4, snapshot.own.ipv6)
    return frozenset(address.ip for address in found if address is not None)
