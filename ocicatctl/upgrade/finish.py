"""The end of an upgrade from host-local: what it has left goes when its last container is gone.

Edge: files (``host_local_files.py``), etcd and ipamd's socket.
"""

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from datamodel.errors import Invalid
from datastore.store import Store
from ipam_api.client import IpamClient
from ocicatctl.entries import raise_for
from ocicatctl.resources.manifest import Resource
from ocicatctl.store import with_store
from ocicatctl.upgrade.containers import Container
from ocicatctl.upgrade.files import Directory, configurations
from ocicatctl.upgrade.host_local import DATA_DIR, Closed, Given, Stray, uses_host_local
from ocicatctl.upgrade.plan import reservation
from ocicatctl.upgrade.reservation import Say, delete_reservation
from ocicatctl.upgrade.takeover import (
    TIMEOUT_S,
    Places,
    give_back,
    node_that_serves,
)

NAMED = 5  # so many containers are named that are in the way


def finish(places: Places, say: Say) -> None:
    """Remove what host-local has left, once nobody uses it.

    Raises:
        Invalid: a configuration still names host-local for the network; or a container that it
            wired still runs, or was not taken over.
    """
    users = [
        path
        for path, content in configurations(places.conf_dir)
        if uses_host_local(content, path, places.network)
    ]
    raise_for(
        [f"{path}: names host-local for network {places.network}; remove it" for path in users]
    )
    directory = Directory(places.directory or Path(DATA_DIR), places.network)
    with closing(IpamClient(places.socket)) as ipamd:
        node = node_that_serves(ipamd)
        reserved = reservation(node, places.network)
        if not directory.path.is_dir():
            _check_gone(directory, reserved)
            say(f"{directory.path}: is removed already")
            return
        with directory.locked():
            found = directory.read()
            containers = places.containers(found)
            _check_adopted(found, containers)
            _collect(containers, directory, ipamd, say)
            with_store(partial(delete_reservation, reserved))
            left = directory.remove()
    raise_for([f"{directory.path}: is not empty: {', '.join(left)}"] if left else [])
    say(f"{directory.path} and IPReservation host-local-{node} are removed")


def _check_gone(directory: Directory, reserved: Resource) -> None:
    """Tell a directory that is removed from one that was never there: the reservation goes first.

    Raises:
        Invalid: the reservation is there.
    """

    async def is_there(store: Store) -> bool:
        return reserved.key in (await store.read(reserved.key)).entries

    if with_store(is_there):
        raise Invalid(
            f"{directory.path}: does not exist, but {reserved.title} does; give --directory as the "
            "upgrade said it"
        )


def _check_adopted(
    found: Sequence[Given | Closed | Stray], containers: Sequence[Container]
) -> None:
    strays = [one for one in found if isinstance(one, Stray) and one.address]
    raise_for(
        [
            *(f"file {stray.name}: {stray.mistake}" for stray in strays),
            *(
                f"{container.title}: is not taken over; call this without --finish first"
                for container in containers
                if not container.is_adopted
            ),
        ]
    )


def _collect(
    containers: Sequence[Container], directory: Directory, ipamd: IpamClient, say: Say
) -> None:
    """Give back what was gone without ipamd's hearing of it; the rest must be gone first."""
    alive = []
    for container in containers:
        pod = container.cached.pod
        if container.is_gone:
            give_back(container, ipamd, say)
        elif ipamd.get(container.attachment, pod, TIMEOUT_S).addresses:
            alive.append(container)
            continue
        for file in container.files:
            directory.write_closed(file)
    if alive:
        some = [container.title for container in alive[:NAMED]]
        more = [f"and {len(alive) - NAMED} more"] if len(alive) > NAMED else []
        raise Invalid(
            f"network {alive[0].attachment.network}: {len(alive)} containers of the old plugin "
            f"still run ({'; '.join([*some, *more])}); call this again when they are gone, or "
            "see docs/upgrade-from-host-local.md if one is not there any more"
        )
