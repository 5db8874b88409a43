"""The call: environment, stdin and namespace, checked by the CNI specification's rules.

Pure: no I/O.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address

from cni_plugin import stdin
from cni_plugin.cni_error import INVALID_CONFIG, INVALID_ENVIRONMENT, IO_FAILURE, CniError
from cni_plugin.netconf import NetConf, ipam_netconf_of, mac_of, netconf_of
from cni_plugin.pod_facts import PodFacts
from cni_plugin.stdin import Keys, shown, version_of
from datamodel.attachment import IFNAME_MAX_BYTES, NAME, Attachment, Pod
from datamodel.block import Address
from datamodel.errors import Invalid

# What each command cannot do without, in the order in which a complaint lists them. CNI_PATH is
# needed by those who delegate: not by us.
REQUIRED = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
}

# What a GC leaves; the second name is that of the specification's first edition of 1.1.0.
VALID_ATTACHMENTS = ("cni.dev/valid-attachments", "cni.dev/attachments")


@dataclass(frozen=True, slots=True)
class Invocation:
    """How we were called."""

    environment: Mapping[str, str]
    stdin: bytes
    netns_fd: int | None = None  # CNI_NETNS, opened by whoever was called
    netns_mistake: str = ""  # why it could not be opened
    stdin_mistake: str = ""  # why stdin could not be read
    role: str = "ocicat"  # the executable's own name
    # Whether the runtime still waits; a call may have stood in a queue.
    is_caller_there: Callable[[], bool] = lambda: True

    @property
    def is_ipam(self) -> bool:
        """Whether we are called for addresses alone, by a plugin that makes the interface."""
        return self.role.endswith("-ipam")


@dataclass(frozen=True, slots=True)
class CmdArgs:
    """A call about one attachment that is right in itself."""

    attachment: Attachment
    pod: Pod | None
    netns: str
    netns_fd: int | None
    netns_mistake: str
    conf: NetConf
    addresses: tuple[Address, ...] = ()  # that an ADD asks for, at most one of each family
    mac: str = ""  # that an ADD asks for
    deadline: float = math.inf  # by the clock of time.monotonic
    is_caller_there: Callable[[], bool] = lambda: True
    facts: PodFacts | None = None  # that an ADD has of the pod; None: Kubernetes was not asked

    def told(self, facts: PodFacts) -> "CmdArgs":
        """The same call, asking for what the pod asks for, which counts more.

        Raises:
            Invalid: a floating IP has no address to lead to.
        """
        conf = self.conf
        named = tuple(sorted(address.version for address in facts.addresses))
        families = named or facts.versions or conf.families
        lost = [str(a) for a in facts.workload.floating_ips if a.version not in families]
        if lost:
            raise Invalid(f"floating IP {', '.join(lost)}: the pod gets no address of its family")
        conf = replace(
            conf,
            families=families,
            ipv4_pools=facts.pools.get(4, conf.ipv4_pools),
            ipv6_pools=facts.pools.get(6, conf.ipv6_pools),
        )
        return replace(
            self,
            conf=conf,
            addresses=facts.addresses or self.addresses,
            mac=facts.mac or self.mac,
            facts=facts,
        )


@dataclass(frozen=True, slots=True)
class NetworkArgs:
    """A call about a network as a whole that is right in itself."""

    conf: NetConf
    valid: frozenset[tuple[str, str]] = frozenset()  # GC: container id and interface of what stays
    deadline: float = math.inf


def parse(invocation: Invocation, command: str) -> CmdArgs:
    """Check everything that can be checked before anything is touched.

    Raises:
        CniError: with the specification's code for the mistake.
        Invalid, Unsupported: the network configuration, with every mistake in it.
    """
    environment = invocation.environment
    container_id, ifname = _names(environment, REQUIRED[command])
    keys, network = _network(invocation)
    version = version_of(keys, command)
    cni_args = environment.get("CNI_ARGS", "")
    # A DEL uses nothing else, and must not fail for what was edited after its ADD.
    is_del = command == "DEL"
    conf = NetConf(version, network) if is_del else _conf(invocation, keys, network, version)
    is_add = command == "ADD"
    return CmdArgs(
        attachment=Attachment(network, container_id, ifname),
        pod=pod_of(cni_args),
        # The capability and "args" of the configuration count more than CNI_ARGS.
        addresses=conf.addresses or requested_addresses(cni_args) if is_add else (),
        mac=conf.mac or requested_mac(cni_args) if is_add else "",
        netns=environment.get("CNI_NETNS", ""),
        netns_fd=invocation.netns_fd,
        netns_mistake=invocation.netns_mistake,
        is_caller_there=invocation.is_caller_there,
        conf=conf,
    )


def parse_for_network(invocation: Invocation, command: str) -> NetworkArgs:
    """Check a GC or a STATUS.

    Raises:
        CniError, Invalid, Unsupported: as ``parse``.
    """
    keys, network = _network(invocation)
    version = version_of(keys, command)
    if command == "GC":
        return NetworkArgs(NetConf(version, network), valid_attachments(keys))
    return NetworkArgs(_conf(invocation, keys, network, version))


def _network(invocation: Invocation) -> tuple[Keys, str]:
    if invocation.stdin_mistake:
        raise CniError(IO_FAILURE, f"network configuration on stdin: {invocation.stdin_mistake}")
    keys = stdin.parse(invocation.stdin)
    network = keys.get("name", str, "")
    if not network:
        raise CniError(INVALID_CONFIG, "missing network name")
    if not NAME.fullmatch(network):
        raise CniError(INVALID_CONFIG, "invalid characters found in network name", network)
    return keys, network


def _conf(invocation: Invocation, keys: Keys, network: str, version: str) -> NetConf:
    read = ipam_netconf_of if invocation.is_ipam else netconf_of
    return read(keys, network, version)


def valid_attachments(keys: Keys) -> frozenset[tuple[str, str]]:
    """Read which attachments a GC leaves: container ids and interface names.

    ``null`` and an empty list mean that none is valid. Without the key nobody knows.

    Raises:
        CniError: 7, the key is missing or anything in it is wrong: nothing may be removed.
    """
    key = next((key for key in VALID_ATTACHMENTS if key in keys), None)
    if key is None:
        mistake = f"{VALID_ATTACHMENTS[0]}: is missing; GC removes all that it does not list"
        raise CniError(INVALID_CONFIG, mistake)
    found = set()
    for number, item in enumerate(keys.get(key, list, [])):
        entry = Keys(item if isinstance(item, dict) else {}, f"{key}[{number}].")
        pair = entry.get("containerID", str, ""), entry.get("ifname", str, "")
        if not all(pair):
            mistake = f"{key}[{number}]: {shown(item)} does not name containerID and ifname"
            raise CniError(INVALID_CONFIG, mistake)
        found.add(pair)
    return frozenset(found)


def _names(environment: Mapping[str, str], required: tuple[str, ...]) -> tuple[str, str]:
    container_id = environment.get("CNI_CONTAINERID", "")
    if container_id and not NAME.fullmatch(container_id):
        raise CniError(
            INVALID_ENVIRONMENT, "CNI_CONTAINERID: invalid characters in containerID", container_id
        )
    ifname = environment.get("CNI_IFNAME", "")
    if mistake := ifname and ifname_mistake(ifname):
        raise CniError(INVALID_ENVIRONMENT, f"CNI_IFNAME: {mistake}", ifname)
    if missing := [name for name in required if not environment.get(name)]:
        raise CniError(INVALID_ENVIRONMENT, f"required env variables [{','.join(missing)}] missing")
    return container_id, ifname


def ifname_mistake(ifname: str) -> str:
    """Why *ifname* cannot be a link's name; "" if it can.

    Beyond the specification's rules: the kernel would expand ``%d``, and ``all`` and ``default``
    are directories among the per-link sysctls.
    """
    if any("\ud800" <= c <= "\udfff" for c in ifname):  # how Python keeps bytes that are no text
        return "interface name is not UTF-8"
    if len(ifname.encode()) > IFNAME_MAX_BYTES:
        return "interface name is too long"
    if ifname in (".", ".."):
        return "interface name is . or .."
    if ifname in ("all", "default"):
        return "interface name is that of a sysctl directory"
    if b"\xa0" in ifname.encode():  # to the kernel a blank, in whatever character it stands
        return "interface name contains the byte A0"
    if any(c in "/:%" or c.isspace() for c in ifname):
        return "interface name contains / or : or % or whitespace characters"
    if not ifname.isprintable():  # the kernel would take it, but it becomes a key in etcd
        return "interface name contains control characters"
    return ""


def pod_of(cni_args: str) -> Pod | None:
    """Read the pod from CNI_ARGS ("K=V;K=V"), leniently: a DEL must not fail for its form."""
    values = _pairs(cni_args)
    namespace, name = values.get("K8S_POD_NAMESPACE", ""), values.get("K8S_POD_NAME", "")
    if NAME.fullmatch(namespace) and NAME.fullmatch(name):
        return Pod(namespace, name)
    return None


def requested_addresses(cni_args: str) -> tuple[Address, ...]:
    """Read the wanted addresses from CNI_ARGS: ``IP=`` one, or one of each family with a comma.

    Raises:
        CniError: 4, it is anything else.
    """
    text = _pairs(cni_args).get("IP", "")
    if text in ("", "none"):
        return ()
    try:
        addresses = tuple(ip_address(address) for address in text.split(","))
    except ValueError as error:
        mistake = f"CNI_ARGS IP: {error}; write an address without a prefix length"
        raise CniError(INVALID_ENVIRONMENT, mistake, text) from error
    if len({address.version for address in addresses}) < len(addresses):
        mistake = "CNI_ARGS IP: more than one address of a family; an interface has one of each"
        raise CniError(INVALID_ENVIRONMENT, mistake, text)
    return addresses


def requested_mac(cni_args: str) -> str:
    """Read the wanted address of the pod's link from CNI_ARGS ``MAC=``; "" for any.

    Raises:
        CniError: 4, it is none.
    """
    text = _pairs(cni_args).get("MAC", "")
    try:
        return mac_of(text) if text else ""
    except ValueError as error:
        raise CniError(INVALID_ENVIRONMENT, f"CNI_ARGS MAC: {error}", text) from error


def _pairs(cni_args: str) -> dict[str, str]:
    return dict(part.partition("=")[::2] for part in cni_args.split(";") if "=" in part)
