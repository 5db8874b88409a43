"""What a pod's network is: the one value that ADD applies, CHECK compares and DEL removes.

Pure: no I/O. A /32 address in the pod, a veth pair, a /32 route on the host: Calico's wiring. The
next hop 169.254.1.1 exists nowhere; permanent neighbours on both sides answer for it, so that
nothing waits for ARP and nothing depends on the host's default route.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface, IPv4Network

from datamodel.attachment import Attachment, Pod
from datamodel.block import Address

# Host ends of all pods share it, as Calico's do; no frame ever carries it beyond the pair.
HOST_MAC = "ee:ee:ee:ee:ee:ee"
NEXT_HOP = "169.254.1.1"
# IFLA_GROUP of every host end, set when it is created: one without an alias is what a killed ADD
# left. The number is ours ("OC" as two bytes), any would do.
LINK_GROUP = 0x4F43
NAME_DIGITS = 11  # of "cali" + 11 in IFNAMSIZ


@dataclass(frozen=True, slots=True)
class Route:
    """A route through the side's own link; ``via`` is on that link whatever its addresses are."""

    destination: str  # "10.233.64.5/32"
    via: str | None = None

    def __str__(self) -> str:
        return f"{self.destination} via {self.via}" if self.via else f"{self.destination} (link)"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour entry."""

    address: str
    mac: str

    def __str__(self) -> str:
        return f"{self.address} at {self.mac}"


@dataclass(frozen=True, slots=True)
class Side:
    """One end of the veth pair and what belongs to it in its namespace."""

    name: str
    mac: str
    mtu: int | None  # None: the kernel's default
    addresses: tuple[IPv4Interface, ...] = ()
    routes: tuple[Route, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()  # path below /proc/sys, value
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


def plan_links(attachment: Attachment, pod: Pod | None, mtu: int | None) -> PodNet:
    """The veth pair alone: all that is known before the address is."""
    digest = attachment.digest
    # Locally administered, and the same each time: udev leaves a MAC alone that came with the link.
    mac = ":".join(["02", *(digest[i : i + 2] for i in range(0, 10, 2))])
    return PodNet(
        host=Side(host_names(attachment, pod)[0], HOST_MAC, mtu),
        pod=Side(attachment.ifname, mac, mtu),
        alias=attachment.alias(pod),
    )


def plan(links: PodNet, addresses: tuple[Address, ...], allows_ip_forwarding: bool) -> PodNet:
    """The pod's whole network; without addresses, all of it that needs none."""
    hosts = [IPv4Network(str(address)) for address in addresses]
    return replace(
        links,
        host=replace(
            links.host,
            routes=tuple(Route(str(host)) for host in hosts),
            neighbours=tuple(Neighbour(str(a), links.pod.mac) for a in addresses),
            sysctls=_host_sysctls(links.host.name),
        ),
        pod=replace(
            links.pod,
            addresses=tuple(IPv4Interface(str(host)) for host in hosts),
            routes=(Route(f"{NEXT_HOP}/32"), Route("0.0.0.0/0", via=NEXT_HOP)),
            neighbours=(Neighbour(NEXT_HOP, HOST_MAC),),
            sysctls=(("net/ipv4/ip_forward", "1" if allows_ip_forwarding else "0"),),
        ),
    )


def _host_sysctls(name: str) -> tuple[tuple[str, str], ...]:
    """Calico's settings of a host end, and forwarding for the node as a whole."""
    return (
        ("net/ipv4/ip_forward", "1"),
        (f"net/ipv4/conf/{name}/forwarding", "1"),
        (f"net/ipv4/conf/{name}/proxy_arp", "1"),
        (f"net/ipv4/conf/{name}/route_localnet", "1"),  # portmap sends 127.0.0.1 to the pod
        (f"net/ipv4/neigh/{name}/proxy_delay", "0"),
    )


def remainder(whole: PodNet, done: PodNet) -> PodNet:
    """What of *whole* is still to be set up when *done* is."""

    def side(all_of_it: Side, part: Side) -> Side:
        return replace(
            all_of_it,
            addresses=tuple(a for a in all_of_it.addresses if a not in part.addresses),
            routes=tuple(r for r in all_of_it.routes if r not in part.routes),
            neighbours=tuple(n for n in all_of_it.neighbours if n not in part.neighbours),
            sysctls=tuple(s for s in all_of_it.sysctls if s not in part.sysctls),
        )

    return replace(whole, host=side(whole.host, done.host), pod=side(whole.pod, done.pod))


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
        ("neighbour", desired.neighbours, actual.neighbours),
    ):
        for item in wanted:
            if item not in found:
                yield f"{what} {item} of {link} is missing"
    values = dict(actual.sysctls)
    for path, value in desired.sysctls:
        if values.get(path) != value:
            yield f"sysctl {path} is {values.get(path)} instead of {value} {where}"
