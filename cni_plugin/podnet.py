"""What a pod's network is: the one value that ADD applies, CHECK compares and DEL removes.

Pure: no I/O. A /32 or /128 address in the pod, a veth pair, a route to that address on the host:
Calico's wiring. The next hop 169.254.1.1 exists nowhere; neighbour entries on both sides answer
for the next hops, so that nothing waits for ARP or neighbour discovery and nothing depends on the
host's default route. The pod's is permanent. The host's holds until the pod says that its MAC is
another, which a later plugin (``tuning``) may give it.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from datamodel.attachment import Attachment, Pod
from datamodel.block import Address

# Host ends of all pods share it, as Calico's do; no frame ever carries it beyond the pair.
HOST_MAC = "ee:ee:ee:ee:ee:ee"
NEXT_HOP = "169.254.1.1"
# Calico's as well: what EUI-64 makes of the host's MAC. We add it ourselves, since a kernel whose
# addr_gen_mode is another gives the link some other address, or none; and without the second that
# the kernel takes for asking whether somebody else has it: nobody else is on the link.
NEXT_HOP_V6 = "fe80::ecee:eeff:feee:eeee"
# IFLA_GROUP of every host end, set when it is created: one without an alias is what a killed ADD
# left. The number is ours ("OC" as two bytes), any would do.
LINK_GROUP = 0x4F43
FURTHER_METRIC = 1 << 16  # above what anything else uses
KERNEL_MTU = 1500  # of a veth pair, if nobody says otherwise
NAME_DIGITS = 11  # of "cali" + 11 in IFNAMSIZ
WITHOUT_END = str(1 << 30)  # one question a second; the kernel adds to it, as a signed number

Sysctls = tuple[tuple[str, str], ...]  # path below /proc/sys, value


@dataclass(frozen=True, slots=True)
class Route:
    """A route through the side's own link; ``via`` is on that link whatever its addresses are."""

    destination: str  # "10.233.64.5/32"
    via: str | None = None
    metric: int = field(default=0, compare=False)  # 0: the kernel's default

    def __str__(self) -> str:
        return f"{self.destination} via {self.via}" if self.via else f"{self.destination} (link)"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A neighbour entry; one that is not permanent follows what the neighbour says of itself."""

    address: str
    mac: str
    is_permanent: bool = True

    def __str__(self) -> str:
        return f"{self.address} at {self.mac}"


@dataclass(frozen=True, slots=True)
class Side:
    """One end of the veth pair and what belongs to it in its namespace."""

    name: str
    mac: str
    mtu: int | None  # None: the kernel's default
    addresses: tuple[IPv4Interface | IPv6Interface, ...] = ()
    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    sysctls: Sysctls = ()
    is_up: bool = True


@dataclass(frozen=True, slots=True)
class PodNet:
    """Both sides, and the alias that says on the host side whose they are."""

    host: Side
    pod: Side
    alias: str


def host_names(attachment: Attachment, pod: Pod | None) -> tuple[str, ...]:
    """The names that the host side may have, the usual one first.

    For ``eth0`` they are Calico's: from the pod's name, or the container id's first characters.
    The name from the handle is for a further interface of the same pod, and for a container id
    that begins like another one.
    """
    hashed = f"cali{attachment.digest[:NAME_DIGITS]}"
    if attachment.ifname != "eth0":
        return (hashed,)
    if pod is not None:
        return (f"cali{pod.digest[:NAME_DIGITS]}",)
    return (f"cali{attachment.container_id[:NAME_DIGITS]}", hashed)


def plan_links(attachment: Attachment, pod: Pod | None, mtu: int | None, mac: str = "") -> PodNet:
    """The veth pair alone: all that is known before the address is.

    Args:
        mac: the pod's, if one is requested.
    """
    digest = attachment.digest
    # Locally administered, and the same each time: udev leaves a MAC alone that came with the link.
    own = ":".join(["02", *(digest[i : i + 2] for i in range(0, 10, 2))])
    return PodNet(
        host=Side(host_names(attachment, pod)[0], HOST_MAC, mtu),
        pod=Side(attachment.ifname, mac.lower() or own, mtu),
        alias=attachment.alias(pod),
    )


def with_overhead(links: PodNet, overhead: int) -> PodNet:
    """The pair with room for a tunnel's headers: so far its MTU is that of the node's uplink."""
    if not overhead:
        return links
    mtu = (links.pod.mtu or KERNEL_MTU) - overhead
    return replace(links, host=replace(links.host, mtu=mtu), pod=replace(links.pod, mtu=mtu))


def plan(
    links: PodNet,
    addresses: tuple[Address, ...],
    allows_ip_forwarding: bool,
    families: Collection[int] = (),
) -> PodNet:
    """The pod's whole network.

    Args:
        families: 4 and 6, as they will be needed: before the addresses are known, all of the
            network that needs none. Those of *addresses* are needed anyway.
    """
    needed = {*families, *(address.version for address in addresses)}
    forwarding = "1" if allows_ip_forwarding else "0"
    metric = _metric(links.pod)
    host = replace(
        links.host,
        routes=tuple(Route(str(ip_interface(address))) for address in addresses),
        neighbours=tuple(
            Neighbour(str(address), links.pod.mac, is_permanent=False) for address in addresses
        ),
    )
    pod = replace(links.pod, addresses=tuple(ip_interface(address) for address in addresses))
    if 4 in needed:
        host = replace(host, sysctls=_host_sysctls_v4(host.name))
        pod = replace(
            pod,
            routes=(
                Route(f"{NEXT_HOP}/32", metric=metric),
                Route("0.0.0.0/0", via=NEXT_HOP, metric=metric),
            ),
            neighbours=(Neighbour(NEXT_HOP, HOST_MAC),),
            sysctls=(
                ("net/ipv4/ip_forward", forwarding),
                (f"net/ipv4/conf/{pod.name}/arp_notify", "1"),  # says so when its MAC changes
            ),
        )
    if 6 in needed:
        host = replace(
            host,
            addresses=(IPv6Interface(f"{NEXT_HOP_V6}/64"),),
            sysctls=host.sysctls + _host_sysctls_v6(host.name),
        )
        pod = replace(
            pod,
            routes=(*pod.routes, Route("::/0", via=NEXT_HOP_V6, metric=metric)),
            neighbours=(*pod.neighbours, Neighbour(NEXT_HOP_V6, HOST_MAC)),
            sysctls=pod.sysctls + _pod_sysctls_v6(pod.name, forwarding),
        )
    return replace(links, host=host, pod=pod)


def _metric(pod: Side) -> int:
    """Of the routes of an interface other than ``eth0``, which come after those of ``eth0``.

    Each has its own default route: the kernel does not take two alike. Which one source addresses
    of an interface go through is for the ``sbr`` plugin to say.
    """
    if pod.name == "eth0":
        return 0
    name = hashlib.sha1(pod.name.encode(), usedforsecurity=False).digest()
    return FURTHER_METRIC + int.from_bytes(name[:3], "big")


def _host_sysctls_v4(name: str) -> Sysctls:
    """Calico's settings of a host end, and forwarding for the node as a whole.

    But for ``ucast_solicit``: whether the pod still is there is asked without end, and a pod that
    does not answer (a strict rp_filter without a route to the host) is not given up.
    """
    return (
        ("net/ipv4/ip_forward", "1"),
        (f"net/ipv4/conf/{name}/forwarding", "1"),
        (f"net/ipv4/conf/{name}/proxy_arp", "1"),
        (f"net/ipv4/conf/{name}/route_localnet", "1"),  # portmap sends 127.0.0.1 to the pod
        (f"net/ipv4/neigh/{name}/proxy_delay", "0"),
        (f"net/ipv4/neigh/{name}/ucast_solicit", WITHOUT_END),
    )


def _host_sysctls_v6(name: str) -> Sysctls:
    return (
        ("net/ipv6/conf/all/forwarding", "1"),
        (f"net/ipv6/conf/{name}/disable_ipv6", "0"),
        (f"net/ipv6/conf/{name}/forwarding", "1"),
        (f"net/ipv6/conf/{name}/proxy_ndp", "1"),
        (f"net/ipv6/neigh/{name}/ucast_solicit", WITHOUT_END),
    )


def _pod_sysctls_v6(name: str, forwarding: str) -> Sysctls:
    """IPv6 may be switched off in a namespace as it comes from the runtime."""
    return (
        *((f"net/ipv6/conf/{which}/disable_ipv6", "0") for which in ("all", "default", "lo", name)),
        (f"net/ipv6/conf/{name}/accept_dad", "0"),
        (f"net/ipv6/conf/{name}/ndisc_notify", "1"),
        ("net/ipv6/conf/all/forwarding", forwarding),
    )


def remainder(whole: PodNet, done: PodNet) -> PodNet:
    """What of *whole* is still to be set up when *done* is; an MTU that is right is left out."""

    def side(all_of_it: Side, part: Side) -> Side:
        return replace(
            all_of_it,
            mtu=all_of_it.mtu if all_of_it.mtu != part.mtu else None,
            addresses=tuple(a for a in all_of_it.addresses if a not in part.addresses),
            routes=tuple(r for r in all_of_it.routes if r not in part.routes),
            neighbours=tuple(n for n in all_of_it.neighbours if n not in part.neighbours),
            sysctls=tuple(s for s in all_of_it.sysctls if s not in part.sysctls),
        )

    return replace(whole, host=side(whole.host, done.host), pod=side(whole.pod, done.pod))


def _as_passing(neighbours: Iterable[Neighbour]) -> Iterator[Neighbour]:
    """What they are where permanent ones are not asked for: a permanent one serves as well."""
    return (replace(neighbour, is_permanent=False) for neighbour in neighbours)


def differences(desired: Side, actual: Side | None, where: str) -> Iterator[str]:
    """Say in plain words what of *desired* is not so. What is there besides is not our concern."""
    if actual is None:
        yield f"link {desired.name} is missing {where}"
        return
    link = f"link {desired.name} {where}"
    if not actual.is_up:
        yield f"{link} is down"
    if actual.mac != desired.mac:
        yield f"{link} has MAC {actual.mac} instead of {desired.mac}"
    if desired.mtu is not None and actual.mtu != desired.mtu:
        yield f"{link} has MTU {actual.mtu} instead of {desired.mtu}"
    for what, wanted, found in (
        ("address", desired.addresses, actual.addresses),
        ("route", desired.routes, actual.routes),
        ("neighbour", desired.neighbours, (*actual.neighbours, *_as_passing(actual.neighbours))),
    ):
        for item in wanted:
            if item not in found:
                yield f"{what} {item} of {link} is missing"
    values = dict(actual.sysctls)
    for path, value in desired.sysctls:
        if values.get(path) != value:
            yield f"sysctl {path} is {values.get(path)} instead of {value} {where}"
