"""What the checks judge by: what was seen, one value for each area, and what could not be seen.

Pure: no I/O. Filled in by the files ``look_*.py``. Paths are those on the node.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from datamodel.node import Node
from datamodel.pool import Pool
from datamodel.report import Report
from datamodel.routing_status import RoutingStatus
from ipam_api.answers import NodeStatus
from kernel_api.rtnetlink import Interface, Link
from ocicatctl.check.problem import Problem
from ocicatctl.doctor.certificate import Validity
from ocicatctl.doctor.drop_ins import DropIn
from ocicatctl.doctor.forwarding import Firewall
from ocicatctl.doctor.runtime_config import Runtime
from ocicatctl.doctor.settings import Settings
from ocicatctl.install.manifest import Manifest
from ocicatctl.install.plan import Found
from ocicatctl.routes.explain import Finding as RouteFinding
from ocicatctl.routes.facts import Bird, Kernel, View

T = TypeVar("T")

POD_LINKS = "cali"  # what the names of pods' host ends begin with


class NotSeen(Exception):
    """What a check needs was not seen; the text says why."""


@dataclass(frozen=True)
class Facts:
    """Everything that was seen."""

    settings: Settings
    areas: Mapping[type, object] = field(default_factory=dict)
    unseen: Mapping[type, str] = field(default_factory=dict)  # why

    def of(self, area: type[T]) -> T:
        """What was seen of an area.

        Raises:
            NotSeen: nothing.
        """
        found = self.areas.get(area)
        if isinstance(found, area):
            return found
        raise NotSeen(self.unseen.get(area, "was not looked at"))


# ---- files -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ConfFile:
    """A file in a runtime's configuration directory."""

    path: str
    text: str | None  # None: it cannot be read


@dataclass(frozen=True, slots=True)
class BinDir:
    """A directory of plugins."""

    path: str
    exists: bool = True
    programs: frozenset[str] = frozenset()  # what can be executed in it
    others: frozenset[str] = frozenset()
    is_noexec: bool = False


@dataclass(frozen=True, slots=True)
class Runtimes:
    """The runtimes of the node, and what is where they look."""

    found: tuple[Runtime, ...]
    conf: Mapping[str, tuple[ConfFile, ...]] = field(default_factory=dict)  # by directory, sorted
    bins: Mapping[str, BinDir] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Launcher:
    """An executable of ours in a directory of plugins."""

    path: str
    interpreter: str
    has_interpreter: bool
    fallback: str  # what it becomes while the CNI server is down; "": it waits for that
    has_fallback: bool
    socket: str  # of the CNI server that it calls
    is_current: bool | None  # whether it is what this installation has; None: not known
    proof: str | None  # why it does not answer VERSION, "": it does; None: not called


@dataclass(frozen=True, slots=True)
class Installation:
    """What install has put in place, and what is there now."""

    manifest: Manifest | None = None  # None: nothing is installed
    found: Mapping[str, Found] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()  # what a killed install has left
    launchers: tuple[Launcher, ...] = ()


@dataclass(frozen=True, slots=True)
class DropIns:
    """Settings of programs that could touch our links; each in the order that it reads them."""

    network_manager: tuple[DropIn, ...] = ()
    networkd: tuple[DropIn, ...] = ()
    udev: tuple[DropIn, ...] = ()


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system that a directory is on."""

    path: str
    free_bytes: int
    free_share: float  # of bytes or inodes, whichever is less


@dataclass(frozen=True, slots=True)
class Host:
    """The machine."""

    release: str = ""  # of the kernel
    processes: frozenset[str] = frozenset()  # their names, as the kernel cuts them off
    programs: frozenset[str] = frozenset()  # of those that we need, which are there
    modules: frozenset[str] = frozenset()  # of the kernel, loaded or built in, as far as known
    can_load: frozenset[str] = frozenset()  # of those that it could load
    is_modular: bool = True  # whether the kernel tells of its modules at all
    has_ufw: bool = False
    is_synchronised: bool | None = None  # the clock; None: the kernel does not tell
    disks: tuple[Disk, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)  # of the machine as a whole


# ---- the kernel's network ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Network:
    """Links, addresses and routes of the node's network namespace, and its sysctls."""

    links: Mapping[str, Link] = field(default_factory=dict)
    addresses: Mapping[str, tuple[Interface, ...]] = field(default_factory=dict)  # by link
    kernel: Kernel = field(default_factory=Kernel)
    sysctls: Mapping[str, str] = field(default_factory=dict)  # path below /proc/sys: value
    neighbours: int = 0

    @property
    def pods(self) -> tuple[Link, ...]:
        """Pods' host ends."""
        return tuple(link for name, link in self.links.items() if name.startswith(POD_LINKS))

    @property
    def uplinks(self) -> tuple[Link, ...]:
        """The links of the default routes, and those of no default route that have addresses."""
        hops = [
            hop.device
            for route in self.kernel.routes
            if route.network.prefixlen == 0
            for hop in route.hops
        ]
        return tuple(self.links[name] for name in dict.fromkeys(hops) if name in self.links)

    def families(self, link: str) -> frozenset[int]:
        """The families of the addresses that are routed to a link."""
        return frozenset(
            route.network.version
            for route in self.kernel.routes
            if any(hop.device == link for hop in route.hops)
            and route.network.prefixlen == route.network.max_prefixlen
        )


@dataclass(frozen=True, slots=True)
class Filter:
    """What the node's firewalls do."""

    firewall: Firewall = field(default_factory=Firewall)
    unasked: tuple[str, ...] = ()  # which of them could not be asked, and why


# ---- etcd and the daemons ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of etcd, asked for a key."""

    name: str
    took_s: float | None  # None: no answer
    mistake: str = ""


@dataclass(frozen=True, slots=True)
class Etcd:
    """What its endpoints answer."""

    endpoints: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class EtcdServer:
    """What one endpoint shows over HTTP."""

    name: str
    ahead_s: float | None = None  # of our clock; None: it did not say
    certificate: Validity | None = None


@dataclass(frozen=True, slots=True)
class EtcdServers:
    """What all of them show."""

    servers: tuple[EtcdServer, ...] = ()
    now: float = 0.0  # Unix time of the look


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """A file that a setting of etcd names."""

    variable: str
    path: str
    mistake: str = ""
    validities: tuple[Validity, ...] = ()


@dataclass(frozen=True, slots=True)
class Certificates:
    """The files with which etcd is spoken to."""

    files: tuple[CertificateFile, ...] = ()
    pair_mistake: str = ""  # why key and certificate do not serve together
    now: float = 0.0


@dataclass(frozen=True, slots=True)
class Ipamd:
    """What ipamd answers."""

    status: NodeStatus | None = None
    mistake: str = ""


@dataclass(frozen=True, slots=True)
class CniServer:
    """What the CNI server answers, and what it could not deliver."""

    mistake: str = ""  # why VERSION was not answered
    waiting: int = 0  # releases in the spool
    oldest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Routing:
    """What the route distributor and BIRD say."""

    status: RoutingStatus | None = None  # None: the distributor wrote none
    mistake: str = ""  # why its file cannot be read
    bird: Bird = field(default_factory=Bird)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What etcd says, beside what this node's kernel and BIRD do."""

    view: View
    problems: tuple[Problem, ...] = ()  # of addresses, as ipam check finds them
    routes: Sequence[RouteFinding] = ()
    report: Report | None = None
    unasked: str = ""  # why there is none
    unreadable: tuple[str, ...] = ()

    @property
    def node(self) -> Node | None:
        """This node's own entry."""
        return self.view.nodes.get(self.view.node)

    @property
    def pools(self) -> Sequence[Pool]:
        """Every pool."""
        return self.view.pools
