from ipaddress import IPv4Interface, ip_network

import pytest

from datamodel.errors import Invalid
from ipamd.config import read_config

ETCD = {"ETCD_ENDPOINTS": "https://10.0.0.1:2379,https://10.0.0.2:2379"}


def read(hostname: str = "host-1", **environment: str):
    return read_config({**ETCD, **environment}, hostname)


def mistakes_of(**environment: str) -> str:
    with pytest.raises(Invalid) as caught:
        read(**environment)
    return str(caught.value)


def test_the_defaults_are_kubesprays():
    config = read()

    assert config.default_pool is not None
    assert config.default_pool.name == "default-ipv4-ippool"
    assert config.default_pool.cidr == ip_network("10.233.64.0/18")
    assert config.default_pool.block_size == 24
    assert config.default_pool.ipip_mode == config.default_pool.vxlan_mode == "Never"
    assert config.default_pool.nat_outgoing is True
    assert config.socket == "/run/ocicat/ipamd.sock"
    assert config.log_level == "INFO"
    assert config.as_number is None
    assert config.ipv4 is None
    assert not config.detects_ipv4


def test_the_node_is_named_by_nodename():
    assert read(NODENAME="node-1").node == "node-1"


@pytest.mark.parametrize("hostname", ["Host-1", " host-1\n"])
def test_without_nodename_it_is_the_hosts_name_as_calico_writes_it(hostname):
    assert read(hostname).node == "host-1"


@pytest.mark.parametrize(
    ("text", "address", "detects"),
    [
        ("10.0.0.11/24", IPv4Interface("10.0.0.11/24"), False),
        ("10.0.0.11", IPv4Interface("10.0.0.11/32"), False),
        ("autodetect", None, True),
        ("", None, False),
        ("none", None, False),
    ],
)
def test_ip_sets_the_address_or_how_to_find_it(text, address, detects):
    config = read(IP=text)

    assert config.ipv4 == address
    assert config.detects_ipv4 is detects


def test_the_default_pool_follows_calicos_settings():
    pool = read(
        CALICO_IPV4POOL_CIDR="10.65.0.0/16",
        CALICO_IPV4POOL_BLOCK_SIZE="26",
        CALICO_IPV4POOL_IPIP="CrossSubnet",
        CALICO_IPV4POOL_NAT_OUTGOING="false",
    ).default_pool

    assert pool is not None
    assert (pool.cidr, pool.block_size) == (ip_network("10.65.0.0/16"), 26)
    assert (pool.ipip_mode, pool.vxlan_mode) == ("CrossSubnet", "Never")
    assert pool.nat_outgoing is False


@pytest.mark.parametrize(
    ("text", "mode"), [("always", "Always"), ("Off", "Never"), ("NEVER", "Never")]
)
def test_encapsulation_may_be_written_in_any_case(text, mode):
    pool = read(CALICO_IPV4POOL_VXLAN=text).default_pool

    assert pool is not None
    assert pool.vxlan_mode == mode


def test_no_default_pools_means_none():
    assert read(NO_DEFAULT_POOLS="true").default_pool is None


def test_an_as_number_is_read():
    assert read(AS="64999").as_number == 64999


def test_a_log_level_may_be_written_in_any_case():
    assert read(OCICAT_LOG_LEVEL="Debug").log_level == "DEBUG"


@pytest.mark.parametrize(
    ("name", "value", "mistake"),
    [
        ("IP", "10.0.0.300", "IP: '10.0.0.300' is not an IPv4 address with a prefix length"),
        ("IP", "fd00::1/64", "IP: 'fd00::1/64' is not an IPv4 address"),
        ("AS", "sixty", "AS: 'sixty' is not a number"),
        ("CALICO_IPV4POOL_CIDR", "10.0.0.1/24", "CALICO_IPV4POOL_CIDR: 10.0.0.1/24 has host bits"),
        ("CALICO_IPV4POOL_BLOCK_SIZE", "33", "CALICO_IPV4POOL_*: blockSize 33 is not in 20..32"),
        ("CALICO_IPV4POOL_BLOCK_SIZE", "x", "CALICO_IPV4POOL_BLOCK_SIZE: 'x' is not a number"),
        ("CALICO_IPV4POOL_IPIP", "yes", "CALICO_IPV4POOL_IPIP: 'yes' is not one of never, off"),
        ("CALICO_IPV4POOL_NAT_OUTGOING", "1", "CALICO_IPV4POOL_NAT_OUTGOING: '1' is not one of"),
        ("NO_DEFAULT_POOLS", "maybe", "NO_DEFAULT_POOLS: 'maybe' is not one of true, false"),
        ("IP_AUTODETECTION_METHOD", "can-reach=1.1.1.1", "IP_AUTODETECTION_METHOD: 'can-reach="),
        ("OCICAT_LOG_LEVEL", "loud", "OCICAT_LOG_LEVEL: 'loud' is not one of debug, info"),
        ("OCICAT_COLOUR", "red", "OCICAT_COLOUR is not a setting"),
    ],
)
def test_a_mistake_names_the_setting_and_its_value(name, value, mistake):
    assert mistake in mistakes_of(**{name: value})


def test_every_mistake_is_reported_at_once():
    text = mistakes_of(
        ETCD_ENDPOINTS="ftp://x",
        IP="x",
        AS="y",
        CALICO_IPV4POOL_CIDR="z",
        CALICO_IPV4POOL_IPIP="q",
        NO_DEFAULT_POOLS="r",
        OCICAT_LOG_LEVEL="loud",
        OCICAT_COLOUR="red",
    )

    for name in (
        "ETCD_ENDPOINTS",
        "IP: 'x'",
        "AS: 'y'",
        "CALICO_IPV4POOL_CIDR",
        "CALICO_IPV4POOL_IPIP",
        "NO_DEFAULT_POOLS",
        "OCICAT_LOG_LEVEL",
        "OCICAT_COLOUR",
    ):
        assert name in text


def test_both_encapsulations_at_once_are_refused():
    text = mistakes_of(CALICO_IPV4POOL_IPIP="always", CALICO_IPV4POOL_VXLAN="always")

    assert "ipipMode and vxlanMode are both on" in text


def test_settings_of_the_other_daemons_are_no_mistakes():
    read(OCICAT_BIRD_SOCKET="/x", OCICAT_SPOOL_DIR="/y", HOME="/home/somebody")
