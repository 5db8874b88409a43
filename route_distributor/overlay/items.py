"""What an overlay is made of: tunnel devices, and what is on them.

Pure: no I/O. ``desired.py`` says what there should be, ``kernel.py`` finds what there is, and
``difference.py`` compares the two. Devices go by name; it is the kernel's index that changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from datamodel import tunnel
from kernel_api.rtnetlink import Address, Interface, Network

IPIP = tunnel.IPIP.device
VXLAN = {each.version: each.device for each in (tunnel.VXLAN, tunnel.VXLAN_V6)}
VERSIONS = {each.device: each.version for each in tunnel.TUNNELS}  # of what is inside
DEVICES = tuple(VERSIONS)
# Calico's numbers, so that either finds what the other made.
VNI, PORT = 4096, 4789
PROTOCOL = 80  # of our routes, by which we know them
# Says that tunl0 is in use by us: it is there on every node that has the module, for anybody.
ALIAS = "ocicat"


@dataclass(frozen=True, slots=True)
class Uplink:
    """The interface that has the node's address."""

    index: int
    name: str
    mtu: int
    is_up: bool = True


@dataclass(frozen=True, slots=True)
class Vxlan:
    """What of a VXLAN device cannot be changed: another one has to take its place."""

    local: Address | None  # the node's address
    parent: int  # the uplink's index
    vni: int = VNI
    port: int = PORT
    is_learning: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """A tunnel device as it should be, which includes that it is up."""

    name: str
    mtu: int
    vxlan: Vxlan | None = None  # None: IPIP
    mac: str = ""  # of a VXLAN device

    @property
    def kind(self) -> str:
        """The kernel's word for it."""
        return "vxlan" if self.vxlan else "ipip"


@dataclass(frozen=True, slots=True)
class FoundDevice:
    """A link that has the name of a tunnel device."""

    index: int
    kind: str  # "": a physical one
    is_up: bool
    mtu: int
    mac: str
    alias: str
    vxlan: Vxlan | None


@dataclass(frozen=True, slots=True)
class OwnAddress:
    """An address of a tunnel device."""

    device: str
    address: Interface


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The MAC of another node's device, known for good."""

    device: str
    address: Address
    mac: str


@dataclass(frozen=True, slots=True)
class Forwarding:
    """The node behind a MAC."""

    device: str
    mac: str
    node: Address
    is_permanent: bool = True


@dataclass(frozen=True, slots=True)
class Route:
    """A route of the main table; of those that others made, ``device`` may be any text."""

    destination: Network
    device: str
    via: Address | None
    metric: int
    protocol: int = PROTOCOL
    is_onlink: bool = True


Item = OwnAddress | Neighbour | Forwarding | Route


def version_of(item: Item) -> int:
    """4 or 6: what the tunnel carries for which the item is."""
    return item.destination.version if isinstance(item, Route) else VERSIONS[item.device]


@dataclass(frozen=True, slots=True)
class Overlay:
    """What the tunnels of one node should be."""

    devices: Mapping[str, Device] = field(default_factory=dict)  # by name; others have to go
    items: frozenset[Item] = frozenset()
    sysctls: Mapping[str, str] = field(default_factory=dict)  # path below /proc/sys -> value
    # Of these versions it is not known what should be: everything stays as it is.
    unknown: frozenset[int] = frozenset()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """What the kernel has of it: links of our names, and what is ours by the rules.

    Ours are: permanent neighbours, forwarding entries and routes on VXLAN devices, addresses on
    tunnel devices, routes with our protocol. Not what the kernel makes by itself, nor a route with
    our protocol to a link without a next hop: Felix may have made that for a pod.
    """

    devices: Mapping[str, FoundDevice] = field(default_factory=dict)
    items: frozenset[Item] = frozenset()
    sysctls: Mapping[str, str] = field(default_factory=dict)  # those that there are
