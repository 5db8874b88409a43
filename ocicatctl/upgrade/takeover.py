"""The story of an upgrade from host-local: ipamd holds the addresses of live pods from now on.

Edge: files (``host_local_files.py``), etcd and ipamd's socket. It may be killed anywhere and is
then called again. docs/upgrade-from-host-local.md says why nothing is given out twice meanwhile.
"""

import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from os import environ, uname
from pathlib import Path

from datamodel.block import Address
from datamodel.environment import node_name
from datamodel.errors import OcicatError, Unavailable
from datastore import keys
from datastore.store import Store
from ipam_api.client import IpamClient, Recorded, Wanted
from ocicatctl.entries import raise_for
from ocicatctl.store import with_store
from ocicatctl.upgrade.containers import Container, containers_of, link_to
from ocicatctl.upgrade.files import (
    Directory,
    kernel_routes,
    read_file,
    read_if_there,
)
from ocicatctl.upgrade.host_local import (
    Closed,
    Configuration,
    Given,
    Stage,
    Stray,
    configuration_of,
)
from ocicatctl.upgrade.plan import (
    Stored,
    block_keys,
    pools_in,
    problems,
    reservation,
    reserved_after,
    reserved_during,
    with_blocks,
)
from ocicatctl.upgrade.reservation import Say, reserve, write_reservation

TIMEOUT_S = 10.0
PAUSE_S = 0.02
ADD_S = 5.0  # how long the rest of an ADD may take, once it has its address


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything is."""

    network: str
    conf: Path | None
    directory: Path | None
    results: Path
    conf_dir: Path
    socket: str

    @property
    def configuration(self) -> Configuration:
        """What the configuration says of host-local.

        Raises:
            Invalid: it cannot be read, or is of another network.
        """
        assert self.conf is not None
        return configuration_of(read_file(self.conf), str(self.conf), self.network)

    def result_of(self, given: Given) -> tuple[str, bytes]:
        """Path and content of a container's cached result; of none both are empty."""
        who = given.attachment
        name = f"{who.network}-{who.container_id}-{who.ifname}"
        path = given.result or str(self.results.absolute() / name)
        content = read_if_there(Path(path))
        return (path, content) if content is not None else ("", b"")

    def containers(self, found: Sequence[Given | Closed | Stray]) -> list[Container]:
        """Whose the addresses are."""
        routes = kernel_routes()
        given = [one for one in found if isinstance(one, Given)]
        return containers_of(given, self.result_of, lambda address: link_to(address, routes))


# ---- taking over -------------------------------------------------------------------------------


def take_over(places: Places, say: Say, *, is_trial: bool) -> None:
    """Reserve, look, take host-local's addresses from it, give them to ipamd: in this order.

    However it ends, one of the two gives out the network's addresses, never both: ipamd none of its
    own accord from the first step to the last, host-local none that is frozen or closed.

    Raises:
        Invalid: something speaks against it, line by line; only the reservation is made then. Or
            ipamd refuses single addresses in the end: host-local gives out nothing any more.
        Unavailable: ipamd, etcd or host-local's lock.
    """
    configuration = places.configuration
    directory = Directory(places.directory or Path(configuration.data_dir), places.network)
    wanted = [a for some in configuration.sets_to_close() for one in some for a in one.addresses()]
    with closing(IpamClient(places.socket)) as ipamd:
        node = node_that_serves(ipamd)
        if not is_trial:
            _wait_until_heard(ipamd, reserve(node, configuration, say))
        with nullcontext() if is_trial else directory.locked():
            found = directory.read()
            waiting = [c for c in places.containers(found) if not c.is_adopted and not c.is_gone]
            _check(found, waiting, configuration, node, say)
            if is_trial:
                taken = {one.address for one in found}
                _say_trial(waiting, len(set(wanted) - taken), node, configuration, say)
                return
            _take_from_host_local(waiting, wanted, directory, say)
        _wait_for_results(places, directory)
        _adopt(_with_what_came_late(places, directory), directory, ipamd, say)
        beside = reserved_after(configuration.ranges)
        narrowed = reservation(node, places.network, beside)
        _wait_until_heard(ipamd, with_store(partial(write_reservation, narrowed)))
        say(f"IPReservation host-local-{node} still reserves {', '.join(beside)}")
    say(_NEXT.format(places.conf, places.network, directory.path.parent))


_NEXT = """\
Put the new configuration in the place of {} now: until then no pod can start on this node.
When the old pods are gone: ocicatctl upgrade host-local --network={} --directory={} --finish"""


def node_that_serves(ipamd: IpamClient) -> str:
    """Say which node it is; only if ipamd gives out addresses at the moment."""
    status = ipamd.status(TIMEOUT_S)
    if status.waits_for:
        raise Unavailable(status.waits_for)
    return status.node


def _wait_until_heard(ipamd: IpamClient, revision: int) -> None:
    """Wait until ipamd knows the reservation; what it gave out before can be seen then."""
    end = time.monotonic() + TIMEOUT_S
    while ipamd.status(TIMEOUT_S).revision < revision:
        if time.monotonic() > end:
            raise Unavailable("ipamd: does not hear from etcd; look into its log")
        time.sleep(PAUSE_S)


def _check(
    found: Sequence[Given | Closed | Stray],
    waiting: Sequence[Container],
    configuration: Configuration,
    node: str,
    say: Say,
) -> None:
    wrong = []
    for stray in (one for one in found if isinstance(one, Stray)):
        if stray.address:
            wrong.append(f"file {stray.name}: {stray.mistake}; remove it if nobody has the address")
        else:
            say(f"file {stray.name}: {stray.mistake}; it is left alone")
    stored = with_store(partial(_read, waiting))
    raise_for([*wrong, *problems(stored, waiting, configuration.ranges, node)])


async def _read(containers: Sequence[Container], store: Store) -> Stored:
    stored = pools_in((await store.read(keys.POOLS)).entries.values())
    wanted = block_keys(stored, containers)
    blocks = (await store.read(*wanted)).entries.values() if wanted else ()
    return with_blocks(stored, blocks)


def _say_trial(
    waiting: Sequence[Container], count: int, node: str, configuration: Configuration, say: Say
) -> None:
    cidrs = ", ".join(reserved_during(configuration.ranges))
    say(f"IPReservation host-local-{node} would reserve {cidrs}")
    for container in waiting:
        say(f"would take over {container.title}")
    say(f"{count} free addresses would be closed to host-local")


def _take_from_host_local(
    waiting: Sequence[Container], free: Sequence[Address], directory: Directory, say: Say
) -> None:
    """See to it that host-local can neither free nor give out: from here on without its lock."""
    for container in waiting:
        for file in container.files:
            directory.write(file.at(Stage.FROZEN, container.result))
    count = sum(directory.close(address) for address in free)
    say(f"{count} free addresses are closed to host-local")


def _wait_for_results(places: Places, directory: Directory) -> None:
    """Let the ADDs come to an end that had their address already: their result names the pod."""
    end = time.monotonic() + ADD_S
    while places.results.is_dir() and time.monotonic() < end:
        since_ns = time.time_ns() - int(ADD_S * 1e9)
        containers = places.containers(directory.read())
        if all(c.result or c.is_adopted or c.files[-1].time_ns < since_ns for c in containers):
            return
        time.sleep(10 * PAUSE_S)  # the directory may be large


def _with_what_came_late(places: Places, directory: Directory) -> list[Container]:
    """Those that are taken from host-local, with the address of a range set that is not closed.

    An ADD that had an address of a closed set gets the other one when the lock is let go, and
    succeeds. One that had none fails at the closed set, and host-local frees what it has.
    """
    with directory.locked():
        taken = [c for c in places.containers(directory.read()) if c.is_taken]
        for file in (f for c in taken for f in c.files if f.stage is Stage.HELD):
            directory.write(file.at(Stage.FROZEN))
    return taken


def _adopt(
    containers: Sequence[Container], directory: Directory, ipamd: IpamClient, say: Say
) -> None:
    """Have ipamd hold what each container has; one that is refused does not keep the others.

    Raises:
        Invalid: which were refused, and why.
        Unavailable: ipamd does not answer.
    """
    refused = []
    for container in (c for c in containers if not c.is_adopted):
        if container.is_gone:
            give_back(container, ipamd, say)
            for file in container.files:
                directory.write_closed(file)
            continue
        try:
            _allocate(container, ipamd)
        except Unavailable:
            raise
        except OcicatError as error:
            refused.append(f"{container.title}: is not taken over: {error}")
            continue
        for file in container.files:
            directory.write(file.at(Stage.ADOPTED, container.result))
        link = f" at {container.interface_name}" if container.interface_name else ""
        say(f"took over {container.title}{link}")
    raise_for(refused)


def _allocate(container: Container, ipamd: IpamClient) -> None:
    # Without a kernel: reconcile never frees what another plugin has wired.
    endpoint = Recorded(container.interface_name, container.cached.mac, (container.profile,))
    versions = tuple(address.version for address in container.addresses)
    wanted = Wanted(versions, addresses=container.addresses)
    pod = container.cached.pod
    ipamd.allocate(container.attachment, pod, endpoint, wanted, TIMEOUT_S).wait()


def give_back(container: Container, ipamd: IpamClient, say: Say) -> None:
    """Release what a container held that is gone; if the old plugin deleted it, nobody told."""
    ipamd.release(container.attachment, container.cached.pod, TIMEOUT_S)
    say(f"gave back {container.title}: it is gone")


def reserve_only(places: Places, say: Say) -> None:
    """Make the reservation and nothing else; ipamd need not run.

    Raises:
        Invalid: the node's name is none.
    """
    try:
        with closing(IpamClient(places.socket)) as ipamd:
            node = ipamd.status(TIMEOUT_S).node
    except Unavailable:
        node, mistakes = node_name(environ, uname().nodename)
        raise_for(mistakes)
    reserve(node, places.configuration, say)
