"""ipamd's settings, from the environment.

Pure: no I/O. Names and meanings are Calico's where Calico has them; every mistake is reported at
once.
"""

import contextlib
import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from datamodel.environment import (
    duration,
    is_node_name,
    listening,
    log_level,
    node_name,
    unknown_names,
)
from datamodel.errors import Invalid
from datamodel.pool import Pool
from datastore.config import EtcdConfig, etcd_config
from ipamd.autodetect import KUBERNETES, Interface, Method, parse_method
from kube_api.access import Where, find_access

T = TypeVar("T")

DEFAULT_POOL_CIDR = "10.233.64.0/18"  # kubespray's pod network
DEFAULT_BLOCK_SIZES = {4: 24, 6: 122}
AS_NUMBERS = range(1, 1 << 32)
MEGABYTE = 1_000_000
_MODES = {
    "never": "Never",
    "off": "Never",
    "always": "Always",
    "crosssubnet": "CrossSubnet",
    "cross-subnet": "CrossSubnet",
}
_BOOLEANS = {"true": True, "false": False}
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{0,12})?|\.[0-9]{1,12}", re.ASCII)

ALWAYS, IF_MISSING, NEVER = "always", "if missing", "never"


@dataclass(frozen=True, slots=True)
class AddressSource:
    """Where the node's address of one family comes from."""

    version: int
    given: Interface | None = None  # by the operator: counts most
    detected: str = NEVER  # else: ALWAYS, IF_MISSING in the Node resource, or NEVER
    method: Method = field(default_factory=Method)


@dataclass(frozen=True, slots=True)
class NodeInKubernetes:
    """Where the Kubernetes API is, and by which name it knows this node."""

    where: Where
    name: str


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that ipamd does not find in etcd."""

    node: str
    etcd: EtcdConfig
    socket: str
    sources: tuple[AddressSource, AddressSource]  # of the IPv4 and of the IPv6 address
    checks_addresses: bool  # that no other node has them
    poll_interval_s: float  # between two looks at addresses that are always detected
    kubernetes: NodeInKubernetes | None  # None: nobody told us of one
    kubernetes_name: str  # recorded in the Node, for the controller; "": nothing is
    as_number: int | None
    default_pools: tuple[Pool, ...]  # each is made if the store has none of its family
    reconcile_period_s: float
    leak_grace_s: float
    history_dir: Path | None  # None: no history
    history_bytes: int
    metrics_address: tuple[str, int] | None
    log_level: str


class _Reader:
    """Reads settings one by one and collects what is wrong with them. Empty means unset."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.mistakes = unknown_names(environment)

    def text(self, name: str, default: str = "") -> str:
        return self.environment.get(name) or default

    def one_of(self, name: str, default: str, choices: Mapping[str, T]) -> T:
        value = self.text(name, default)
        if value.lower() not in choices:
            self.mistakes.append(f"{name}: {value!r} is not one of {', '.join(choices)}")
            return choices[default]
        return choices[value.lower()]

    def whole(self, name: str, default: int | None) -> int | None:
        value = self.text(name)
        if not value:
            return default
        if not re.fullmatch(r"[0-9]{1,12}", value):
            self.mistakes.append(f"{name}: {value!r} is not a number")
            return default
        return int(value)

    def positive(self, name: str, default: float, what: str) -> float:
        value = self.text(name, str(default))
        number = float(value) if _NUMBER.fullmatch(value) else 0.0
        if number <= 0:
            self.mistakes.append(f"{name}: {value!r} is not a {what}")
            return default
        return number

    def duration(self, name: str, default: float) -> float:
        seconds, mistakes = duration(self.environment, name, default)
        self.mistakes += mistakes
        return seconds


def read_config(environment: Mapping[str, str], hostname: str) -> Config:
    """Read ipamd's settings.

    Raises:
        Invalid: with every mistake.
    """
    read = _Reader(environment)
    etcd, mistakes = etcd_config(environment)
    node, wrong_node = node_name(environment, hostname)
    level, wrong_level = log_level(environment)
    metrics, wrong_metrics = listening(environment, "OCICAT_IPAMD_METRICS", "127.0.0.1:9098")
    read.mistakes += mistakes + wrong_node + wrong_level + wrong_metrics
    sources = (_source(read, 4, IF_MISSING), _source(read, 6, NEVER))
    config = Config(
        node=node,
        etcd=etcd,
        socket=read.text("OCICAT_IPAM_SOCKET", "/run/ocicat/ipamd.sock"),
        sources=sources,
        checks_addresses=not read.one_of("DISABLE_NODE_IP_CHECK", "false", _BOOLEANS),
        poll_interval_s=read.duration("AUTODETECT_POLL_INTERVAL", 60),
        kubernetes=_kubernetes(read, sources, node),
        kubernetes_name=_kubernetes_name(read),
        as_number=read.whole("AS", None),
        default_pools=_default_pools(read),
        reconcile_period_s=read.positive("OCICAT_RECONCILE_PERIOD_S", 60, "number of seconds"),
        leak_grace_s=read.positive("OCICAT_LEAK_GRACE_S", 60, "number of seconds"),
        history_dir=_history_dir(read),
        history_bytes=int(MEGABYTE * read.positive("OCICAT_HISTORY_MB", 20, "number of megabytes")),
        metrics_address=metrics,
        log_level=level,
    )
    if config.as_number is not None and config.as_number not in AS_NUMBERS:
        read.mistakes.append(f"AS: {config.as_number} is not in 1..{AS_NUMBERS[-1]}")
    if read.mistakes:
        raise Invalid(f"configuration: {'; '.join(read.mistakes)}")
    return config


def _source(read: _Reader, version: int, unset: str) -> AddressSource:
    name = "IP" if version == 4 else "IP6"
    setting = f"{name}_AUTODETECTION_METHOD"
    method, mistakes = parse_method(setting, read.text(setting, Method().text), version)
    read.mistakes += mistakes
    text = read.text(name)
    detected = {"": unset, "autodetect": ALWAYS, "none": NEVER}.get(text)
    if detected is not None:
        return AddressSource(version, None, detected, method)
    given = None
    with contextlib.suppress(ValueError):
        given = ipaddress.ip_interface(text)
    if given is None or given.version != version:
        read.mistakes.append(
            f"{name}: {text!r} is not an IPv{version} address with a prefix length"
        )
    return AddressSource(version, given, NEVER, method)


def _kubernetes(
    read: _Reader, sources: tuple[AddressSource, ...], node: str
) -> NodeInKubernetes | None:
    """Where to ask, if anywhere; a mistake in that is one only if a method is going to."""
    where, mistakes = find_access(read.environment)
    if any(s.detected != NEVER and s.method.kind == KUBERNETES for s in sources):
        read.mistakes += mistakes
        if where is None and not mistakes:
            read.mistakes.append(
                f"{KUBERNETES}: neither KUBECONFIG nor KUBERNETES_SERVICE_HOST is set; ipamd must "
                "run in a pod for it, or have a kubeconfig"
            )
    return NodeInKubernetes(where, read.text("CALICO_K8S_NODE_REF", node)) if where else None


def _kubernetes_name(read: _Reader) -> str:
    name = read.text("CALICO_K8S_NODE_REF")
    if name and not is_node_name(name):
        read.mistakes.append(f"CALICO_K8S_NODE_REF: {name!r} is not a node's name")
    return name


def _default_pools(read: _Reader) -> tuple[Pool, ...]:
    """Unlike Calico we make no IPv6 pool of a random range: it must be named."""
    is_unwanted = read.one_of("NO_DEFAULT_POOLS", "false", _BOOLEANS)
    pools = (_default_pool(read, 4, DEFAULT_POOL_CIDR), _default_pool(read, 6, "none"))
    return () if is_unwanted else tuple(pool for pool in pools if pool)


def _default_pool(read: _Reader, version: int, default_cidr: str) -> Pool | None:
    """A pool, also looked at if it is not wanted: a mistake in it is one all the same."""
    prefix = f"CALICO_IPV{version}POOL_"
    text = read.text(f"{prefix}CIDR", default_cidr)
    size = DEFAULT_BLOCK_SIZES[version]
    block_size = read.whole(f"{prefix}BLOCK_SIZE", size) or size
    ipip = read.one_of(f"{prefix}IPIP", "never", _MODES) if version == 4 else "Never"
    vxlan = read.one_of(f"{prefix}VXLAN", "never", _MODES)
    nat = read.one_of(f"{prefix}NAT_OUTGOING", "true" if version == 4 else "false", _BOOLEANS)
    is_hidden = read.one_of(f"{prefix}DISABLE_BGP_EXPORT", "false", _BOOLEANS)
    if text == "none":
        return None
    try:
        cidr = ipaddress.ip_network(text)
    except ValueError as error:
        read.mistakes.append(f"{prefix}CIDR: {error}")
        return None
    if cidr.version != version:
        read.mistakes.append(f"{prefix}CIDR: {text} is not a range of IPv{version}")
        return None
    pool = Pool(
        name=f"default-ipv{version}-ippool",
        cidr=cidr,
        block_size=block_size,
        node_selector=read.text(f"{prefix}NODE_SELECTOR", "all()"),
        ipip_mode=ipip,
        vxlan_mode=vxlan,
        nat_outgoing=nat,
        disable_bgp_export=is_hidden,
    )
    read.mistakes += [f"{prefix}*: {mistake}" for mistake in pool.mistakes()]
    return pool


def _history_dir(read: _Reader) -> Path | None:
    """Here empty is not unset: it switches the history off."""
    text = read.environment.get("OCICAT_HISTORY_DIR", "/var/lib/ocicat/history")
    if text in ("", "none"):
        return None
    if not text.startswith("/"):
        read.mistakes.append(f"OCICAT_HISTORY_DIR: {text!r} is neither a full path nor none")
    return Path(text)
