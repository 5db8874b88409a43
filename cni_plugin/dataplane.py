"""Makes the kernel look like ``podnet`` says, reads it back, and takes it away again.

Edge: netlink and /proc/sys. Everything is done by link index of a link whose alias was checked: a
link that is somebody else's is never touched. Netlink calls block in the kernel, and each function
works in the network namespace that the thread is in, which is the host's.
"""

import contextlib
import errno
import logging
import threading
import time
from collections.abc import Callable, Iterator

from cni_plugin import netns, pod_rtnetlink
from cni_plugin.observe import (
    SEARCH_TRIES,
    find_link,
    link_state,
    main_routes,
    observe_side,
    our_links,
)
from cni_plugin.pod_rtnetlink import NewLink
from cni_plugin.podnet import LINK_GROUP, PodNet, Side
from datamodel.attachment import Attachment, LinkOwner, parse_alias
from datamodel.errors import Invalid, OcicatError, Unavailable
from kernel_api import rtnetlink
from kernel_api.netlink import Netlink, Refused
from kernel_api.rtnetlink import AF_INET, AF_INET6, Link
from kernel_api.sysctl import ensure_sysctl, has_ipv6, write_sysctl

log = logging.getLogger(__name__)

# The reference bridge plugin waits 2.5 s for the carrier; what makes an IPv6 address usable waits
# for the lock of all links as well.
USABLE_TIMEOUT_S = 5.0
USABLE_POLL_S = 0.0005
# What we set of a link below net/ipv4 without writing the files: who writes them waits for others,
# and /proc/sys may be read-only. The numbers of conf are those of <linux/ip.h>.
BY_NETLINK = {
    "conf": {"forwarding": 1, "proxy_arp": 3, "arp_notify": 22, "route_localnet": 26},
    "neigh": {
        "ucast_solicit": pod_rtnetlink.NDTPA_UCAST_PROBES,
        "proxy_delay": pod_rtnetlink.NDTPA_PROXY_DELAY,
    },
}

# So many threads of a server make and set up links at a time. The kernel lets one link change at a
# time anyway, and more threads cost processor time, as Python hands its lock from one to the next
# with every system call: of 110 ADDs at once each took 3.1 ms of it, and now takes 2.3.
_turn = threading.BoundedSemaphore(2)

DeleteLink = Callable[[int], bool]  # by index; tells whether there was such a link


class LinkTaken(Invalid):
    """A link of the wanted name is there. ``owner`` is who its alias names, if it is ours."""

    def __init__(self, name: str, alias: str, group: int) -> None:
        super().__init__(
            f"link {name}: exists and is {alias or 'not made by us'}; remove it if nobody uses it"
        )
        self.name = name
        self.alias = alias
        self.group = group

    @property
    def owner(self) -> LinkOwner | None:
        """Whose link it is, as far as its alias says so."""
        return parse_alias(self.alias)

    @property
    def is_leftover(self) -> bool:
        """Whether an ADD was killed between making the link and giving it its alias."""
        return not self.alias and self.group == LINK_GROUP


class PodLinkExists(Invalid):
    """The pod has an interface of the name CNI_IFNAME already."""


@contextlib.contextmanager
def _kernel(what: str) -> Iterator[None]:
    """Name the object in what the kernel refuses."""
    try:
        yield
    except Refused as error:
        raise Unavailable(
            f"{what}: the kernel refuses {error.request.what}: {error.strerror}"
        ) from error
    except OSError as error:
        raise Unavailable(f"{what}: {error.filename or ''} {error.strerror or error}") from error


# ---- making ------------------------------------------------------------------------------------


def create_pair(network: PodNet, netns_fd: int) -> int:
    """Make the veth pair, its host side with alias and up. Both ends get MAC and MTU at creation.

    Returns:
        The index of the host side.

    Raises:
        LinkTaken: the host has a link of that name.
        PodLinkExists: the pod has one.
    """
    host, pod = network.host, network.pod
    pair = pod_rtnetlink.create_veth(
        NewLink(host.name, host.mac, host.mtu, LINK_GROUP),
        NewLink(pod.name, pod.mac, pod.mtu),
        netns_fd,
    )
    with _turn, Netlink() as netlink:
        try:
            netlink.execute(pair)
        except Refused as error:
            if error.errno == errno.EEXIST:
                raise _who_is_there(netlink, host.name, pod.name) from error
            raise Unavailable(
                f"{pair.what}: the kernel refuses to make it: {error.strerror}"
            ) from error
        try:
            with _kernel(f"link {host.name}"):
                index = link_state(netlink, host.name).index
                _expect_nothing_of(host.name)
                netlink.execute(pod_rtnetlink.set_link(index, alias=network.alias, is_up=True))
                return index
        except OcicatError:
            delete_named(host.name, "")  # nobody else would know whose it is
            raise


def _expect_nothing_of(name: str) -> None:
    """Heed no router advertisements of the pod, and do not ask it whether it has our addresses.

    As in Calico no ADD fails over it.
    """
    if has_ipv6():
        for key in ("accept_ra", "accept_dad"):
            try:
                write_sysctl(f"net/ipv6/conf/{name}/{key}", "0")
            except OSError as error:
                log.warning("link %s: %s cannot be set: %s", name, key, error)


def _who_is_there(netlink: Netlink, host_name: str, pod_name: str) -> Invalid:
    with _kernel(f"link {host_name}"):
        link = find_link(netlink, host_name)
    if link is None:
        return PodLinkExists(
            f"CNI_IFNAME {pod_name}: the container has an interface of that name already"
        )
    return LinkTaken(host_name, link.alias, link.group)


def setup(network: PodNet, netns_fd: int) -> None:
    """Give both sides MTU, addresses, routes, neighbours and sysctls; the links exist already.

    With addresses, packets pass when this returns.

    Raises:
        Invalid: a route is there already, or IPv6 is needed and the kernel has none.
    """
    _check_families(network.pod)
    host, pod = network.host, network.pod
    on_host_is, in_pod_is = f"link {host.name}", f"interface {pod.name} of the container"
    with Netlink() as on_host:
        with _turn:
            # First the host: it heeds no router advertisement by the time the pod can send one.
            with _kernel(on_host_is):
                _write_sysctls(host)
                _setup_side(on_host, host)
            with _kernel(in_pod_is):
                in_pod = _setup_pod(pod, netns_fd)
        with in_pod:
            if pod.addresses:
                with _kernel(in_pod_is):
                    _wait_until_usable(in_pod, pod)
                with _kernel(on_host_is):
                    _wait_until_usable(on_host, host)


def _setup_pod(pod: Side, netns_fd: int) -> Netlink:
    """Set up the container's side; return the socket in its namespace."""
    with contextlib.ExitStack() as undo:
        with netns.entered(netns_fd):
            _write_sysctls(pod)
            in_pod = undo.enter_context(Netlink())
        _setup_side(in_pod, pod)
        undo.pop_all()
        return in_pod


def _check_families(pod: Side) -> None:
    if any(address.version == 6 for address in pod.addresses) and not has_ipv6():
        raise Invalid(
            "the kernel has no IPv6; boot it without ipv6.disable=1, or use no IPv6 addresses"
        )


def _write_sysctls(side: Side) -> None:
    """Write those that netlink does not set."""
    for path, value in side.sysctls:
        if not any(_number(side, path, directory) for directory in BY_NETLINK):
            ensure_sysctl(path, value)


def _setup_side(netlink: Netlink, side: Side) -> None:
    """Do all that netlink does, in one round trip."""
    index = link_state(netlink, side.name).index
    conf, neigh = (
        {
            number: int(value)
            for path, value in side.sysctls
            if (number := _number(side, path, directory))
        }
        for directory in ("conf", "neigh")
    )
    try:
        netlink.execute(
            pod_rtnetlink.set_link(index, is_up=True, mtu=side.mtu, ipv4_conf=conf),
            *([pod_rtnetlink.set_ipv4_neigh(index, neigh)] if neigh else ()),
            *(rtnetlink.add_address(index, address) for address in side.addresses),
            *(pod_rtnetlink.put_neighbour(index, neighbour) for neighbour in side.neighbours),
            *(pod_rtnetlink.add_route(index, route) for route in side.routes),
        )
    except Refused as error:
        if error.errno != errno.EEXIST or error.request.kind != rtnetlink.RTM_NEWROUTE:
            raise
        destination = error.request.what.removeprefix("route ")
        raise Invalid(
            f"route {destination}: exists already; see `ip route get {destination}` "
            "for the link it leads to and remove it if nobody uses it"
        ) from error


def _number(side: Side, path: str, directory: str) -> int | None:
    """The number of a sysctl of the side's link below net/ipv4/*directory*."""
    parent, _, key = path.rpartition("/")
    return BY_NETLINK[directory].get(key) if parent == f"net/ipv4/{directory}/{side.name}" else None


def _wait_until_usable(netlink: Netlink, side: Side) -> None:
    """Wait until packets pass.

    Raises:
        TimeoutError: they do not in ``USABLE_TIMEOUT_S``.
    """
    deadline = time.monotonic() + USABLE_TIMEOUT_S
    while not _is_usable(netlink, side):
        if time.monotonic() > deadline:
            raise TimeoutError(f"does not pass packets after {USABLE_TIMEOUT_S:g} s")
        time.sleep(USABLE_POLL_S)


def _is_usable(netlink: Netlink, side: Side) -> bool:
    """Whether the kernel has come to what it does later on, when it has time.

    A link that is up drops packets until the kernel has seen its carrier (one from 6.8 on looks
    when it is asked for the link), and an IPv6 address is nobody's before the kernel has seen that
    it need not ask for others who have it.
    """
    link = link_state(netlink, side.name)
    return link.is_running and all(
        pod_rtnetlink.leads_here(netlink.get(pod_rtnetlink.get_route_to(address.ip, link.index)))
        for address in side.addresses
        if address.version == 6
    )


# ---- finding and deleting ----------------------------------------------------------------------


def delete_link(index: int) -> bool:
    """Delete a link; return when the kernel has nothing of it any more."""
    with Netlink() as netlink:
        try:
            netlink.execute(rtnetlink.delete_link(index))
        except Refused as error:
            if error.errno != errno.ENODEV:
                raise
            return False
    return True


def delete(
    attachment: Attachment, names: tuple[str, ...], delete_it: DeleteLink = delete_link
) -> bool:
    """Remove the attachment's veth pair, wherever its pod end is; tell whether there was one.

    Looked for under *names* first, then by alias among all links, so that it is found without
    knowing how it was named. A link of our name that an ADD was killed over is removed as well.
    """
    with _kernel("links"):
        with _turn, Netlink() as netlink:
            for name in names:
                link = find_link(netlink, name)
                if link is not None and _is_leftover(link):
                    delete_link(link.index)  # not with others: only its group says that it is ours
            found = _find(netlink, attachment, names)
        return found is not None and delete_it(found.index)


def delete_named(name: str, alias: str) -> None:
    """Remove the link *name* if its alias still is *alias*; without one, if it is in our group."""
    with _kernel(f"link {name}"), Netlink() as netlink:
        link = find_link(netlink, name)
        if link is not None and link.alias == alias and (alias or _is_leftover(link)):
            delete_link(link.index)


def index_of(attachment: Attachment, names: tuple[str, ...]) -> int | None:
    """The index of the attachment's host link, looked for as ``delete`` does."""
    with _kernel("links"), Netlink() as netlink:
        link = _find(netlink, attachment, names)
        return None if link is None else link.index


def _find(netlink: Netlink, attachment: Attachment, names: tuple[str, ...]) -> Link | None:
    for name in names:
        link = find_link(netlink, name)
        if link is not None and attachment.owns(link.alias):
            return link
    for owned in our_links(netlink):
        if owned.owner.attachment_digest == attachment.digest:
            return owned.link
    return None


def _is_leftover(link: Link) -> bool:
    """Whether an ADD was killed between making the link and naming its owner."""
    return not link.alias and link.group == LINK_GROUP


def ownerless() -> frozenset[int]:
    """The links of ours that have no owner: left by a killed ADD, or just being made."""
    with _kernel("links"), Netlink() as netlink:
        links = map(
            rtnetlink.parse_link, netlink.dump(pod_rtnetlink.veths(), SEARCH_TRIES).messages
        )
        return frozenset(link.index for link in links if _is_leftover(link))


def delete_ownerless(index: int) -> None:
    """Remove a link if it still has no owner."""
    if index in ownerless():
        with _kernel(f"link {index}"):
            delete_link(index)


def attachments_of(network: str) -> tuple[Attachment, ...]:
    """The attachments to *network* that have a link on this host, for GC.

    One whose names are too long for an alias is left out: nothing says which network it is of.
    """
    with _kernel("links"), Netlink() as netlink:
        owners = [owned.owner.attachment for owned in our_links(netlink)]
    return tuple(owner for owner in owners if owner and owner.network == network)


# ---- looking -----------------------------------------------------------------------------------


def observe(network: PodNet, netns_fd: int) -> tuple[Side | None, Side | None]:
    """Read back both sides, host first; ``None`` for a link that is not there."""
    with (
        _kernel(f"interface {network.pod.name} of the container"),
        netns.entered(netns_fd),
        Netlink() as in_pod,
    ):
        pod = observe_side(in_pod, network.pod, is_any_table=True)  # sbr moves routes
    with _kernel(f"link {network.host.name}"), Netlink() as on_host:
        return observe_side(on_host, network.host), pod


def default_mtu() -> int | None:
    """The MTU of the link of the default route, IPv4's before IPv6's; ``None`` without one."""
    with _kernel("default route"), Netlink() as netlink:
        for family in (AF_INET, AF_INET6):
            defaults = [
                found
                for found in main_routes(netlink, family)
                if found.index and found.route.destination in ("0.0.0.0/0", "::/0")
            ]
            if defaults:
                uplink = min(defaults, key=lambda found: found.route.metric).index
                return rtnetlink.parse_link(netlink.get(rtnetlink.get_link_by_index(uplink))).mtu
    return None


def alias_of(name: str) -> str:
    """The alias of a host link; "" if there is no such link or it has none."""
    with _kernel(f"link {name}"), Netlink() as netlink:
        link = find_link(netlink, name)
        return "" if link is None else link.alias
