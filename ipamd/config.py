"""ipamd's settings, from the environment.

Pure: no I/O. Names and meanings are Calico's where Calico has them; every mistake is reported at
once.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface

from datamodel.environment import log_level, node_name, unknown_names
from datamodel.errors import Invalid
from datamodel.pool import Pool
from datastore.config import EtcdConfig, etcd_config

DEFAULT_POOL_CIDR = "10.233.64.0/18"  # kubespray's pod network
DEFAULT_BLOCK_SIZE = "24"
_MODES = {"never": "Never", "off": "Never", "always": "Always", "crosssubnet": "CrossSubnet"}
AS_NUMBERS = range(1, 1 << 32)
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that ipamd does not find in etcd."""

    node: str
    etcd: EtcdConfig
    socket: str
    ipv4: IPv4Interface | None  # None: detect it unless the Node resource has one
    detects_ipv4: bool  # at every start, whatever the Node resource says
    as_number: int | None
    default_pool: Pool | None  # made if the store has no pool; None: never made
    log_level: str


class _Reader:
    """Reads settings one by one and collects what is wrong with them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.mistakes = unknown_names(environment)

    def one_of(self, name: str, default: str, choices: Mapping[str, object]) -> object:
        value = self.environment.get(name) or default
        if value.lower() not in choices:
            self.mistakes.append(f"{name}: {value!r} is not one of {', '.join(choices)}")
            return choices[default]
        return choices[value.lower()]

    def number(self, name: str, default: str | None) -> int | None:
        value = self.environment.get(name) or default
        if value is None:
            return None
        if not value.isdecimal():
            self.mistakes.append(f"{name}: {value!r} is not a number")
            return None
        return int(value)


def read_config(environment: Mapping[str, str], hostname: str) -> Config:
    """Read ipamd's settings.

    Raises:
        Invalid: with every mistake.
    """
    read = _Reader(environment)
    etcd, mistakes = etcd_config(environment)
    node, wrong_node = node_name(environment, hostname)
    level, wrong_level = log_level(environment)
    read.mistakes += mistakes + wrong_node + wrong_level
    ip = environment.get("IP", "")
    method = environment.get("IP_AUTODETECTION_METHOD") or "first-found"
    if method != "first-found":
        read.mistakes.append(
            f"IP_AUTODETECTION_METHOD: {method!r} is not served yet, only first-found; set IP"
        )
    config = Config(
        node=node,
        etcd=etcd,
        socket=environment.get("OCICAT_IPAM_SOCKET") or "/run/ocicat/ipamd.sock",
        ipv4=_address(read, ip),
        detects_ipv4=ip == "autodetect",
        as_number=read.number("AS", None),
        default_pool=_default_pool(read),
        log_level=level,
    )
    if config.as_number is not None and config.as_number not in AS_NUMBERS:
        read.mistakes.append(f"AS: {config.as_number} is not in 1..{AS_NUMBERS[-1]}")
    if read.mistakes:
        raise Invalid(f"configuration: {'; '.join(read.mistakes)}")
    return config


def _address(read: _Reader, text: str) -> IPv4Interface | None:
    if text in ("", "autodetect", "none"):
        return None
    try:
        return IPv4Interface(text)
    except ValueError:
        read.mistakes.append(f"IP: {text!r} is not an IPv4 address with a prefix length")
        return None


def _default_pool(read: _Reader) -> Pool | None:
    text = read.environment.get("CALICO_IPV4POOL_CIDR") or DEFAULT_POOL_CIDR
    block_size = read.number("CALICO_IPV4POOL_BLOCK_SIZE", DEFAULT_BLOCK_SIZE)
    ipip = read.one_of("CALICO_IPV4POOL_IPIP", "never", _MODES)
    vxlan = read.one_of("CALICO_IPV4POOL_VXLAN", "never", _MODES)
    nat = read.one_of("CALICO_IPV4POOL_NAT_OUTGOING", "true", _BOOLEANS)
    is_unwanted = read.one_of("NO_DEFAULT_POOLS", "false", _BOOLEANS)
    try:
        cidr = ipaddress.IPv4Network(text)
    except ValueError as error:
        read.mistakes.append(f"CALICO_IPV4POOL_CIDR: {error}")
        return None
    pool = Pool(
        name="default-ipv4-ippool",
        cidr=cidr,
        block_size=block_size or int(DEFAULT_BLOCK_SIZE),
        ipip_mode=str(ipip),
        vxlan_mode=str(vxlan),
        nat_outgoing=nat is True,
    )
    read.mistakes += [f"CALICO_IPV4POOL_*: {mistake}" for mistake in pool.mistakes()]
    return None if is_unwanted else pool
