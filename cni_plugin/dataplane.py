"""Makes the kernel look like ``podnet`` says, reads it back, and takes it away again.

Edge: netlink (pyroute2) and /proc/sys. Everything is done by link index of a link whose alias was
checked: a link that is somebody else's is never touched.
"""

import contextlib
import errno
import fcntl
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from ipaddress import IPv4Interface
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from cni_plugin import netns
from cni_plugin.podnet import LINK_GROUP, Neighbour, PodNet, Route, Side
from datamodel.attachment import ALIAS_PREFIX, Attachment, LinkOwner, parse_alias
from datamodel.errors import Invalid, OcicatError, Unavailable

RTPROT_BOOT = 3  # Calico's for pod routes; `ip route` leaves it out
NUD_PERMANENT = 0x80
IFF_UP = 1
IFF_RUNNING = 0x40
SIOCGIFFLAGS = 0x8913
RUNNING_TIMEOUT_S = 2.5  # as the reference bridge plugin waits


class LinkTaken(Invalid):
    """A link of the wanted name is there. ``owner`` is who its alias names, if it is ours."""

    def __init__(self, name: str, alias: str, group: int | None) -> None:
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


_thread = threading.local()


def _host() -> IPRoute:
    """This thread's netlink socket in the host's namespace; kept, since opening one takes 1 ms."""
    if not hasattr(_thread, "host"):
        _thread.host = IPRoute()
    host: IPRoute = _thread.host
    return host


@contextlib.contextmanager
def _pod(netns_fd: int) -> Iterator[IPRoute]:
    """Be in the pod's namespace, with a netlink socket that belongs to it."""
    with netns.entered(netns_fd), IPRoute() as pod:
        yield pod


@contextlib.contextmanager
def _kernel(what: str) -> Iterator[None]:
    """Name the object in what the kernel refuses."""
    try:
        yield
    except NetlinkError as error:
        raise Unavailable(f"{what}: the kernel refuses: {os.strerror(error.code)}") from error
    except OSError as error:
        raise Unavailable(f"{what}: {error.strerror or error}") from error


def create_pair(network: PodNet, netns_fd: int) -> int:
    """Make the veth pair, its host side with alias and up. Both ends get MAC and MTU at creation.

    Returns:
        The index of the host side.

    Raises:
        LinkTaken: the host has a link of that name.
        PodLinkExists: the pod has one.
    """
    host, pod = network.host, network.pod
    mtu = {} if host.mtu is None else {"mtu": host.mtu}
    try:
        _host().link(
            "add",
            kind="veth",
            ifname=host.name,
            address=host.mac,
            group=LINK_GROUP,
            **mtu,
            peer={"ifname": pod.name, "address": pod.mac, "net_ns_fd": netns_fd, **mtu},
        )
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise Unavailable(
                f"veth pair {host.name}–{pod.name}: the kernel refuses: {os.strerror(error.code)}"
            ) from error
        raise _who_is_there(host.name, pod.name) from error
    try:
        with _kernel(f"link {host.name}"):
            index = socket.if_nametoindex(host.name)
            _host().link("set", index=index, ifalias=network.alias, state="up")
            return index
    except OcicatError:
        delete_named(host.name, "")  # nobody else would know whose it is
        raise


def _who_is_there(host_name: str, pod_name: str) -> Invalid:
    link = _link(_host(), host_name)
    if link is None:
        return PodLinkExists(
            f"CNI_IFNAME {pod_name}: the container has an interface of that name already"
        )
    return LinkTaken(host_name, _alias(link), link.get_attr("IFLA_GROUP"))


def _link(ip: IPRoute, name: str) -> Any | None:
    try:
        return ip.link("get", ifname=name)[0]
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            return None
        raise


def setup(network: PodNet, netns_fd: int) -> None:
    """Give both sides addresses, routes, neighbours and sysctls; the links exist already."""
    with _pod(netns_fd) as pod, _kernel(f"interface {network.pod.name} of the container"):
        index = socket.if_nametoindex(network.pod.name)
        pod.link("set", index=index, state="up")
        _setup_side(pod, index, network.pod)
        _wait_until_running(network.pod.name)
    with _kernel(f"link {network.host.name}"):
        _setup_side(_host(), socket.if_nametoindex(network.host.name), network.host)
        _wait_until_running(network.host.name)


def _wait_until_running(name: str) -> None:
    """Wait until packets pass: a link that is up drops them until the kernel has seen its carrier.

    Raises:
        TimeoutError: it has not in ``RUNNING_TIMEOUT_S``.
    """
    deadline = time.monotonic() + RUNNING_TIMEOUT_S
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sH14x", name.encode(), 0)
        while True:
            (flags,) = struct.unpack_from("H", fcntl.ioctl(probe, SIOCGIFFLAGS, request), 16)
            if flags & IFF_RUNNING:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"no carrier after {RUNNING_TIMEOUT_S:g} s")
            time.sleep(0.0005)


def _setup_side(ip: IPRoute, index: int, side: Side) -> None:
    for path, value in side.sysctls:
        write_sysctl(path, value)
    for address in side.addresses:
        ip.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)
    for route in side.routes:
        _add_route(ip, index, route)
    for neighbour in side.neighbours:
        ip.neigh(
            "replace",
            ifindex=index,
            dst=neighbour.address,
            lladdr=neighbour.mac,
            state=NUD_PERMANENT,
        )


def _add_route(ip: IPRoute, index: int, route: Route) -> None:
    where = {"gateway": route.via} if route.via else {"scope": "link"}
    try:
        ip.route("add", dst=route.destination, oif=index, proto=RTPROT_BOOT, **where)
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise
        raise Invalid(
            f"route {route.destination}: exists already; see `ip route get {route.destination}` "
            "for the link it leads to and remove it if nobody uses it"
        ) from error


def write_sysctl(path: str, value: str) -> None:
    """Set a sysctl of the thread's namespace, unless it is right: /proc/sys may be read-only."""
    if read_sysctl(path) != value:
        # Opened anew: the kernel ignores what is written behind what was read.
        with open(f"/proc/sys/{path}", "w") as f:
            f.write(value)


def delete(attachment: Attachment, names: tuple[str, ...]) -> bool:
    """Remove the attachment's veth pair, wherever its pod end is; tell whether there was one.

    Looked for under *names* first, then by alias among all links, so that it is found without
    knowing how it was named. A link of our name that an ADD was killed over is removed as well.
    """
    with _kernel("links"):
        for name in names:
            link = _link(_host(), name)
            if link is not None and _is_leftover(link):
                _delete(link)
        link = _find(attachment, names)
        return link is not None and _delete(link)


def index_of(attachment: Attachment, names: tuple[str, ...]) -> int | None:
    """The index of the attachment's host link, looked for as ``delete`` does."""
    with _kernel("links"):
        link = _find(attachment, names)
        return None if link is None else int(link["index"])


def _find(attachment: Attachment, names: tuple[str, ...]) -> Any | None:
    for name in names:
        link = _link(_host(), name)
        if link is not None and attachment.owns(_alias(link)):
            return link
    return next((link for link in _our_links() if attachment.owns(_alias(link))), None)


def delete_named(name: str, alias: str) -> None:
    """Remove the link *name* if its alias still is *alias* and it is in our group."""
    with _kernel(f"link {name}"):
        link = _link(_host(), name)
        if link is not None and _alias(link) == alias and link.get_attr("IFLA_GROUP") == LINK_GROUP:
            _delete(link)


def _alias(link: Any) -> str:
    return link.get_attr("IFLA_IFALIAS") or ""


def _is_leftover(link: Any) -> bool:
    """Whether an ADD was killed between making the link and naming its owner."""
    return not _alias(link) and link.get_attr("IFLA_GROUP") == LINK_GROUP


def _our_links() -> list[Any]:
    return [link for link in _host().get_links() if _alias(link).startswith(ALIAS_PREFIX)]


def _delete(link: Any) -> bool:
    try:
        _host().link("del", index=link["index"])
    except NetlinkError as error:
        if error.code != errno.ENODEV:
            raise Unavailable(
                f"link {link.get_attr('IFLA_IFNAME')}: the kernel refuses to delete it: "
                f"{os.strerror(error.code)}"
            ) from error
        return False
    return True


def observe(network: PodNet, netns_fd: int) -> tuple[Side | None, Side | None]:
    """Read back both sides, host first; ``None`` for a link that is not there."""
    with _pod(netns_fd) as pod, _kernel(f"interface {network.pod.name} of the container"):
        pod_side = _observe_side(pod, network.pod)
    with _kernel(f"link {network.host.name}"):
        return _observe_side(_host(), network.host), pod_side


def _observe_side(ip: IPRoute, desired: Side) -> Side | None:
    link = _link(ip, desired.name)
    if link is None:
        return None
    index = link["index"]
    return Side(
        name=desired.name,
        mac=link.get_attr("IFLA_ADDRESS"),
        mtu=link.get_attr("IFLA_MTU"),
        is_up=bool(link["flags"] & IFF_UP),
        addresses=tuple(
            IPv4Interface(f"{a.get_attr('IFA_ADDRESS')}/{a['prefixlen']}")
            for a in ip.get_addr(index=index, family=socket.AF_INET)
        ),
        routes=tuple(
            Route(f"{r.get_attr('RTA_DST') or '0.0.0.0'}/{r['dst_len']}", r.get_attr("RTA_GATEWAY"))
            for r in ip.get_routes(oif=index, family=socket.AF_INET, table=254)
        ),
        neighbours=tuple(
            Neighbour(n.get_attr("NDA_DST"), n.get_attr("NDA_LLADDR"))
            for n in ip.get_neighbours(ifindex=index, family=socket.AF_INET)
            if n["state"] & NUD_PERMANENT
        ),
        sysctls=tuple((path, read_sysctl(path)) for path, _ in desired.sysctls),
    )


def read_sysctl(path: str) -> str:
    """A sysctl of the thread's namespace."""
    with open(f"/proc/sys/{path}") as f:
        return f.read().strip()


def alias_of(name: str) -> str:
    """The alias of a host link; "" if there is no such link or it has none."""
    with _kernel(f"link {name}"):
        link = _link(_host(), name)
        return "" if link is None else _alias(link)
