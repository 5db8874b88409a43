"""The machine: who else configures our links, kernel, programs, limits, clock, disk.

Pure: no I/O.
"""

import re
from collections.abc import Callable, Iterator, Sequence

from datamodel.pool import Pool
from datamodel.tunnel import TUNNELS
from ocicatctl.doctor.drop_ins import LINKS, DropIn, decides, setting, unmanaged
from ocicatctl.doctor.facts import (
    Cluster,
    DropIns,
    EtcdServers,
    Facts,
    Host,
    Network,
)
from ocicatctl.doctor.finding import Finding, Fine, Unknown, Wrong

_POD = "cali0123456789a"
_INSTALL = "ocicatctl install"
NEEDED = (5, 4)  # of the kernel: NLM_F_EXT_ACK, strict dumps, nft's masquerade in "inet"
_FREE_SHARE, _FREE_BYTES = 0.05, 64 << 20
_MAX_AHEAD_S = 10.0
_INOTIFY = 256  # kubelet, the runtime and a watching process per pod


def network_manager(facts: Facts) -> Iterator[Finding]:
    """Whether NetworkManager leaves our links alone."""
    if "NetworkManager" not in facts.of(Host).processes:
        yield Fine("NetworkManager does not run")
        return
    files = facts.of(DropIns).network_manager
    for link in LINKS:
        is_unmanaged, last = unmanaged(files, link)
        if not is_unmanaged:
            by = f"; {last.path} has the last word" if last else ""
            yield Wrong(
                f"NetworkManager: manages {_glob(link)}{by}",
                "it takes addresses and routes from pods' links, most of all when it restarts",
                f"{_INSTALL} && systemctl reload NetworkManager",
            )
            return
    yield Fine("NetworkManager leaves cali* and tunnels alone")


def networkd(facts: Facts) -> Iterator[Finding]:
    """Whether systemd-networkd leaves our links alone."""
    if "systemd-network" not in facts.of(Host).processes:
        yield Fine("systemd-networkd does not run")
        return
    yield from _first_file(
        facts.of(DropIns).networkd,
        lambda file: setting(file, "Link", "Unmanaged").lower() in ("yes", "true", "1", "on"),
        "systemd-networkd",
        "it takes addresses and routes from pods' links, most of all when it restarts",
        "networkctl reload",
    )


def udev(facts: Facts) -> Iterator[Finding]:
    """Whether udev leaves the MAC addresses of our links alone."""
    if "systemd-udevd" not in facts.of(Host).processes:
        yield Fine("systemd-udevd does not run")
        return
    yield from _first_file(
        facts.of(DropIns).udev,
        lambda file: setting(file, "Link", "MACAddressPolicy") in ("", "none"),
        "udev",
        "it may give a link another MAC address while its pod is connected",
        "udevadm control --reload",
        is_warning=True,  # it leaves alone what was set when the link was made
    )


def _first_file(
    files: Sequence[DropIn],
    is_harmless: Callable[[DropIn], bool],
    who: str,
    why: str,
    reload: str,
    *,
    is_warning: bool = False,
) -> Iterator[Finding]:
    for link in LINKS:
        file = decides(files, link)
        if file and not is_harmless(file):
            ours = next((f for f in files if f.name.startswith("05-ocicat")), None)
            before = f", which comes before {ours.path}" if ours else ""
            mend = f"mv {file.path} {file.path}.disabled && {reload}"
            yield Wrong(
                f"{who}: takes {_glob(link)} for its own by {file.path}{before}",
                why,
                mend if ours else f"{_INSTALL} && {reload}",
                is_warning=is_warning,
            )
            return
    yield Fine(f"{who} leaves cali* and tunnels alone")


def _glob(link: str) -> str:
    return "cali*" if link == _POD else link


def kernel(facts: Facts) -> Iterator[Finding]:
    """Whether the kernel is new enough."""
    release = facts.of(Host).release
    numbers = re.match(r"(\d+)\.(\d+)", release)
    if not numbers:
        yield Unknown(f"kernel {release!r}: says no version")
    elif (int(numbers[1]), int(numbers[2])) < NEEDED:
        yield Wrong(
            f"kernel {release}: is older than {NEEDED[0]}.{NEEDED[1]}",
            "calls fail that the plugin and the route distributor make",
            "apt-get install linux-image-amd64 && reboot",
        )
    else:
        yield Fine(f"kernel {release}")


def modules(facts: Facts) -> Iterator[Finding]:
    """Whether the kernel has the tunnels that pools ask for."""
    host, network = facts.of(Host), facts.of(Network)
    wanted = {tunnel for tunnel in TUNNELS for pool in _pools(facts) if tunnel.is_used_by(pool)}
    for tunnel in sorted(wanted, key=str):
        module = tunnel.name.partition("-")[0]
        if tunnel.device in network.links or module in host.modules:
            yield Fine(f"{tunnel}: the kernel has it")
        elif module in host.can_load:
            yield Wrong(
                f"{tunnel}: module {module} is not loaded",
                "pools ask for this tunnel, and its device cannot be made without it",
                f"modprobe {module}",
            )
        elif host.is_modular:
            yield Wrong(
                f"{tunnel}: the kernel has no module {module}",
                "pools ask for this tunnel: pods reach no pods of other nodes through it",
                "apt-get install linux-modules-extra-$(uname -r) && modprobe " + module,
            )
        else:
            yield Unknown(f"{tunnel}: the kernel does not tell of its modules")
    if not wanted:
        yield Fine("no pool asks for a tunnel")


def nft(facts: Facts) -> Iterator[Finding]:
    """Whether the program is there that masquerades."""
    asking = [pool for pool in _pools(facts) if pool.nat_outgoing and not pool.disabled]
    if asking and "nft" not in facts.of(Host).programs:
        yield Wrong(
            f"nft: is not there, and {asking[0]} has natOutgoing",
            "pods reach nothing outside of the cluster: nobody there knows their addresses",
            "apt-get install nftables",
        )
    else:
        yield Fine("nft is there" if asking else "no pool has natOutgoing")


def _pools(facts: Facts) -> Sequence[Pool]:
    return facts.of(Cluster).pools


def python(facts: Facts) -> Iterator[Finding]:
    """Whether the node has the Python that runs launchers."""
    if "python3" in facts.of(Host).programs:
        yield Fine("python3 is there")
    else:
        yield Wrong(
            "python3: is not there",
            "launchers are scripts that it runs; see launchers whether they have another",
            "apt-get install python3-minimal",
            is_warning=True,
        )


def firewalld(facts: Facts) -> Iterator[Finding]:
    """Whether a manager of firewalls is at work that knows nothing of pods."""
    host = facts.of(Host)
    if "firewalld" in host.processes:
        yield Wrong(
            "firewalld: is active",
            "it rejects what its zones do not know: pods' packets, BGP (179), BFD, tunnels",
            "systemctl disable --now firewalld",
            is_warning=True,
        )
    if host.has_ufw:
        yield Wrong(
            "ufw: is active",
            "it drops forwarded packets: those from and to pods; also BGP (179), BFD, tunnels",
            "ufw disable",
            is_warning=True,
        )
    if "firewalld" not in host.processes and not host.has_ufw:
        yield Fine("neither firewalld nor ufw is active")


def disk(facts: Facts) -> Iterator[Finding]:
    """Whether there is room for what is kept on disk."""
    for one in facts.of(Host).disks:
        free = f"{one.free_bytes >> 20} MiB free"
        if one.free_share < _FREE_SHARE or one.free_bytes < _FREE_BYTES:
            yield Wrong(
                f"{one.path}: is nearly full ({free})",
                "DELs cannot be noted while ipamd is down, and the history has gaps",
                f"du -xh {one.path} | sort -h | tail",
                is_warning=one.free_bytes > 0 and one.free_share > 0,
            )
        else:
            yield Fine(f"{one.path}: {free}")


def inotify(facts: Facts) -> Iterator[Finding]:
    """Whether there is room for those that watch files."""
    text = facts.of(Host).sysctls.get("fs/inotify/max_user_instances", "")
    if not text.isdecimal():
        yield Unknown("fs.inotify.max_user_instances: cannot be read")
        return
    pods = len(facts.of(Network).pods)
    needed = _INOTIFY + 2 * pods if pods > _INOTIFY // 4 else 0
    if int(text) < needed:
        yield Wrong(
            f"fs.inotify.max_user_instances: is {text}, and there are {pods} pods",
            '"too many open files" in kubelet, the runtime and pods',
            f"sysctl -w fs.inotify.max_user_instances={max(1024, 2 * needed)}",
            is_warning=True,
        )
    else:
        yield Fine(f"fs.inotify.max_user_instances is {text}")


def hostname(facts: Facts) -> Iterator[Finding]:
    """Whether this node is known under the name that it has here."""
    settings = facts.settings
    for mistake in settings.mistakes:
        yield Wrong(
            mistake,
            "every daemon with this environment ends at once",
            "env | grep -E 'OCICAT|NODE'",
        )
    nodes = facts.of(Cluster).view.nodes
    if settings.node in nodes:
        yield Fine(f"node {settings.node} is in etcd")
        return
    name = settings.hostname.lower()
    near = [n for n in sorted(nodes) if n.partition(".")[0].lower() == name.partition(".")[0]]
    origin = "NODENAME" if settings.names_node else "the host's name"
    yield Wrong(
        f"node {settings.node} ({origin}): is not in etcd",
        "its ipamd has not registered it, or runs under another name: no session, no routes",
        f"NODENAME={near[0]} ocicatctl doctor" if near else "journalctl -u ocicat-ipamd -n 20",
    )


def clock(facts: Facts) -> Iterator[Finding]:
    """Whether the clock is right: certificates, leases of logs and the history go by it."""
    host, servers = facts.of(Host), facts.areas.get(EtcdServers)
    skews = [
        (server.ahead_s, server.name)
        for server in (servers.servers if isinstance(servers, EtcdServers) else ())
        if server.ahead_s is not None
    ]
    for ahead_s, name in skews:
        if abs(ahead_s) > _MAX_AHEAD_S:
            which = "behind" if ahead_s > 0 else "ahead of"
            yield Wrong(
                f"clock: is {abs(ahead_s):.0f} s {which} that of etcd {name}",
                "certificates seem expired or not valid yet; times in logs cannot be compared",
                "timedatectl set-ntp true",
            )
            return
    if host.is_synchronised is False:
        yield Wrong(
            "clock: nobody keeps it right (NTP)",
            "once it is off, certificates seem expired or not valid yet",
            "timedatectl set-ntp true",
            is_warning=True,
        )
    elif skews:
        yield Fine(f"clock: as etcd's, to {max(abs(s) for s, _ in skews):.0f} s")
    elif host.is_synchronised is None:
        yield Unknown("clock: neither the kernel nor etcd tells")
    else:
        yield Fine("clock: is synchronised")
