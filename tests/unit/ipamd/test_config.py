import math
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from datamodel.errors import Invalid
from ipamd.config import ALWAYS, IF_MISSING, NEVER, NodeInKubernetes, read_config

ETCD = {"ETCD_ENDPOINTS": "https://10.0.0.1:2379,https://10.0.0.2:2379"}


def read(hostname: str = "host-1", **environment: str):
    return read_config({**ETCD, **environment}, hostname)


def mistakes_of(**environment: str) -> str:
    with pytest.raises(Invalid) as caught:
        read(**environment)
    return str(caught.value)


def test_the_defaults_are_kubesprays():
    config = read()

    (pool,) = config.default_pools
    assert pool.name == "default-ipv4-ippool"
    assert (pool.cidr, pool.block_size) == (ip_network("10.233.64.0/18"), 24)
    assert pool.ipip_mode == pool.vxlan_mode == "Never"
    assert pool.nat_outgoing is True
    assert pool.disable_bgp_export is False
    assert pool.node_selector == "all()"
    assert config.socket == "/run/ocicat/ipamd.sock"
    assert config.log_level == "INFO"
    assert config.as_number is None


def test_the_defaults_of_our_own_settings():
    config = read()

    assert (config.reconcile_period_s, config.leak_grace_s) == (60, 60)
    assert config.history_dir == Path("/var/lib/ocicat/history")
    assert config.history_bytes == 20_000_000
    assert config.metrics_address is None


def test_the_node_is_named_by_nodename():
    assert read(NODENAME="node-1").node == "node-1"


@pytest.mark.parametrize("hostname", ["Host-1", " host-1\n"])
def test_without_nodename_it_is_the_hosts_name_as_calico_writes_it(hostname):
    assert read(hostname).node == "host-1"


# ---- the node's addresses ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "given", "detected"),
    [
        ("10.0.0.11/24", ip_interface("10.0.0.11/24"), NEVER),
        ("10.0.0.11", ip_interface("10.0.0.11/32"), NEVER),
        ("autodetect", None, ALWAYS),
        ("", None, IF_MISSING),
        ("none", None, NEVER),
    ],
)
def test_ip_sets_the_address_or_how_to_find_it(text, given, detected):
    source, _ = read(IP=text).sources

    assert (source.version, source.given, source.detected) == (4, given, detected)


@pytest.mark.parametrize(
    ("text", "given", "detected"),
    [
        ("fd00::11/64", ip_interface("fd00::11/64"), NEVER),
        ("autodetect", None, ALWAYS),
        ("", None, NEVER),  # an IPv6 address must be asked for
        ("none", None, NEVER),
    ],
)
def test_ip6_sets_the_address_or_how_to_find_it(text, given, detected):
    _, source = read(IP6=text).sources

    assert (source.version, source.given, source.detected) == (6, given, detected)


def test_each_family_has_a_method_of_its_own():
    ipv4, ipv6 = read(
        IP_AUTODETECTION_METHOD="interface=eth0", IP6_AUTODETECTION_METHOD="can-reach=fd00::1"
    ).sources

    assert (ipv4.method.kind, ipv6.method.kind) == ("interface", "can-reach")
    assert read().sources[0].method.kind == "first-found"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 60),
        ("90", 90),
        ("90s", 90),
        ("1m30s", 90),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("500ms", 0.5),
        ("1h1m1s1ms1us1ns", 3661.001001001),
    ],
)
def test_the_time_between_two_looks_is_seconds_or_what_go_writes(text, seconds):
    assert math.isclose(read(AUTODETECT_POLL_INTERVAL=text).poll_interval_s, seconds)


def test_the_check_of_other_nodes_addresses_can_be_switched_off():
    assert read().checks_addresses
    assert not read(DISABLE_NODE_IP_CHECK="true").checks_addresses


IN_A_POD = {"KUBERNETES_SERVICE_HOST": "10.233.0.1", "KUBERNETES_SERVICE_PORT": "6443"}
BY_KUBERNETES = {"IP_AUTODETECTION_METHOD": "kubernetes-internal-ip"}


def test_in_a_pod_the_cluster_can_be_asked_for_the_address():
    node = read(NODENAME="node-1", **BY_KUBERNETES, **IN_A_POD).kubernetes

    assert node is not None
    assert node.name == "node-1"
    assert str(node.where) == "Kubernetes API https://10.233.0.1:6443"


def test_outside_a_pod_a_kubeconfig_says_whom_to_ask():
    kubeconfig = {"KUBECONFIG": "/etc/ocicat/kubeconfig"}

    node = read(NODENAME="node-1", **BY_KUBERNETES, **kubeconfig).kubernetes

    assert node == NodeInKubernetes(Path("/etc/ocicat/kubeconfig"), "node-1")


def test_the_cluster_may_know_the_node_by_another_name():
    node = read(CALICO_K8S_NODE_REF="ip-10-0-0-11", **BY_KUBERNETES, **IN_A_POD).kubernetes

    assert node is not None
    assert node.name == "ip-10-0-0-11"


def test_what_is_no_name_of_a_node_is_named():
    assert "CALICO_K8S_NODE_REF: 'a/b' is not a node's name" in mistakes_of(
        CALICO_K8S_NODE_REF="a/b"
    )


def test_without_either_nobody_can_be_asked():
    assert (
        "kubernetes-internal-ip: neither KUBECONFIG nor KUBERNETES_SERVICE_HOST is set"
        in mistakes_of(**BY_KUBERNETES)
    )


def test_a_place_of_the_cluster_that_is_none_is_named():
    assert "KUBECONFIG: 'config' is not the full path" in mistakes_of(
        KUBECONFIG="config", **BY_KUBERNETES
    )


@pytest.mark.parametrize("environment", [{}, {**BY_KUBERNETES, "IP": "10.0.0.11/24"}])
def test_a_cluster_that_no_method_needs_need_not_be_there(environment):
    assert read(**environment).kubernetes is None
    assert read(KUBECONFIG="config", **environment).kubernetes is None


def test_a_cluster_that_is_there_is_asked_whether_it_knows_the_node():
    assert read(NODENAME="node-1", **IN_A_POD).kubernetes is not None


# ---- pools -------------------------------------------------------------------------------------


def test_the_default_pool_follows_calicos_settings():
    (pool,) = read(
        CALICO_IPV4POOL_CIDR="10.65.0.0/16",
        CALICO_IPV4POOL_BLOCK_SIZE="26",
        CALICO_IPV4POOL_IPIP="CrossSubnet",
        CALICO_IPV4POOL_NAT_OUTGOING="false",
        CALICO_IPV4POOL_NODE_SELECTOR='rack == "r1"',
        CALICO_IPV4POOL_DISABLE_BGP_EXPORT="true",
    ).default_pools

    assert (pool.cidr, pool.block_size) == (ip_network("10.65.0.0/16"), 26)
    assert (pool.ipip_mode, pool.vxlan_mode) == ("CrossSubnet", "Never")
    assert pool.nat_outgoing is False
    assert pool.node_selector == 'rack == "r1"'
    assert pool.disable_bgp_export is True


@pytest.mark.parametrize(
    ("text", "mode"),
    [("always", "Always"), ("Off", "Never"), ("NEVER", "Never"), ("Cross-Subnet", "CrossSubnet")],
)
def test_encapsulation_may_be_written_in_any_case(text, mode):
    (pool,) = read(CALICO_IPV4POOL_VXLAN=text).default_pools

    assert pool.vxlan_mode == mode


def test_an_ipv6_pool_must_be_named():
    _, pool = read(CALICO_IPV6POOL_CIDR="fd00:10:233::/64").default_pools

    assert pool.name == "default-ipv6-ippool"
    assert (pool.cidr, pool.block_size) == (ip_network("fd00:10:233::/64"), 122)
    assert pool.ipip_mode == pool.vxlan_mode == "Never"
    assert pool.nat_outgoing is False


def test_the_ipv6_pool_follows_calicos_settings():
    _, pool = read(
        CALICO_IPV6POOL_CIDR="fd00:10:233::/64",
        CALICO_IPV6POOL_BLOCK_SIZE="120",
        CALICO_IPV6POOL_VXLAN="Always",
        CALICO_IPV6POOL_NAT_OUTGOING="true",
        CALICO_IPV6POOL_NODE_SELECTOR="has(rack)",
        CALICO_IPV6POOL_DISABLE_BGP_EXPORT="true",
    ).default_pools

    assert pool.block_size == 120
    assert pool.vxlan_mode == "Always"
    assert pool.nat_outgoing is pool.disable_bgp_export is True
    assert pool.node_selector == "has(rack)"


@pytest.mark.parametrize(
    "environment",
    [
        {"NO_DEFAULT_POOLS": "true"},
        {"NO_DEFAULT_POOLS": "true", "CALICO_IPV6POOL_CIDR": "fd00:10:233::/64"},
        {"CALICO_IPV4POOL_CIDR": "none"},
    ],
)
def test_default_pools_can_be_switched_off(environment):
    assert read(**environment).default_pools == ()


def test_both_encapsulations_at_once_are_refused():
    text = mistakes_of(CALICO_IPV4POOL_IPIP="always", CALICO_IPV4POOL_VXLAN="always")

    assert "ipipMode and vxlanMode are both on" in text


# ---- ours --------------------------------------------------------------------------------------


def test_our_own_settings_are_read():
    config = read(
        OCICAT_RECONCILE_PERIOD_S="2.5",
        OCICAT_LEAK_GRACE_S="120",
        OCICAT_HISTORY_DIR="/srv/history",
        OCICAT_HISTORY_MB="0.5",
        OCICAT_IPAMD_METRICS="127.0.0.1:9098",
    )

    assert (config.reconcile_period_s, config.leak_grace_s) == (2.5, 120)
    assert (config.history_dir, config.history_bytes) == (Path("/srv/history"), 500_000)
    assert config.metrics_address == ("127.0.0.1", 9098)


@pytest.mark.parametrize("text", ["", "none"])
def test_the_history_can_be_switched_off(text):
    assert read(OCICAT_HISTORY_DIR=text).history_dir is None


@pytest.mark.parametrize(
    ("text", "address"),
    [("", None), ("0.0.0.0:1", ("0.0.0.0", 1)), ("[::1]:65535", ("::1", 65535))],
)
def test_metrics_are_shown_where_the_setting_says(text, address):
    assert read(OCICAT_IPAMD_METRICS=text).metrics_address == address


def test_an_as_number_is_read():
    assert read(AS="64999").as_number == 64999


# ---- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "mistake"),
    [
        ("IP", "10.0.0.300", "IP: '10.0.0.300' is not an IPv4 address with a prefix length"),
        ("IP", "fd00::1/64", "IP: 'fd00::1/64' is not an IPv4 address"),
        ("IP6", "10.0.0.11/24", "IP6: '10.0.0.11/24' is not an IPv6 address with a prefix length"),
        ("AS", "sixty", "AS: 'sixty' is not a number"),
        ("AS", "9" * 5000, "AS: '999"),
        ("AS", "0", "AS: 0 is not in 1..4294967295"),
        ("CALICO_IPV4POOL_CIDR", "10.0.0.1/24", "CALICO_IPV4POOL_CIDR: 10.0.0.1/24 has host bits"),
        ("CALICO_IPV4POOL_CIDR", "fd00::/64", "CALICO_IPV4POOL_CIDR: fd00::/64 is not a range of"),
        ("CALICO_IPV4POOL_BLOCK_SIZE", "33", "CALICO_IPV4POOL_*: blockSize 33 is not in 20..32"),
        ("CALICO_IPV4POOL_BLOCK_SIZE", "x", "CALICO_IPV4POOL_BLOCK_SIZE: 'x' is not a number"),
        ("CALICO_IPV4POOL_IPIP", "yes", "CALICO_IPV4POOL_IPIP: 'yes' is not one of never, off"),
        ("CALICO_IPV4POOL_NAT_OUTGOING", "1", "CALICO_IPV4POOL_NAT_OUTGOING: '1' is not one of"),
        ("CALICO_IPV4POOL_DISABLE_BGP_EXPORT", "1", "CALICO_IPV4POOL_DISABLE_BGP_EXPORT: '1' is"),
        ("CALICO_IPV4POOL_NODE_SELECTOR", "rack ==", "CALICO_IPV4POOL_*: nodeSelector: "),
        ("CALICO_IPV6POOL_CIDR", "10.0.0.0/24", "CALICO_IPV6POOL_CIDR: 10.0.0.0/24 is not a range"),
        ("CALICO_IPV6POOL_VXLAN", "yes", "CALICO_IPV6POOL_VXLAN: 'yes' is not one of never, off"),
        ("NO_DEFAULT_POOLS", "maybe", "NO_DEFAULT_POOLS: 'maybe' is not one of true, false"),
        ("IP_AUTODETECTION_METHOD", "cidr=10", "IP_AUTODETECTION_METHOD: '10' is not a CIDR"),
        ("IP6_AUTODETECTION_METHOD", "interface=[", "IP6_AUTODETECTION_METHOD: '[' is not a reg"),
        ("AUTODETECT_POLL_INTERVAL", "soon", "AUTODETECT_POLL_INTERVAL: 'soon' is not a duration"),
        ("AUTODETECT_POLL_INTERVAL", "0s", "AUTODETECT_POLL_INTERVAL: '0s' is not a duration"),
        ("AUTODETECT_POLL_INTERVAL", "-1m", "AUTODETECT_POLL_INTERVAL: '-1m' is not a duration"),
        ("AUTODETECT_POLL_INTERVAL", "1m30", "AUTODETECT_POLL_INTERVAL: '1m30' is not a duration"),
        ("DISABLE_NODE_IP_CHECK", "yes", "DISABLE_NODE_IP_CHECK: 'yes' is not one of true, false"),
        ("OCICAT_RECONCILE_PERIOD_S", "0", "OCICAT_RECONCILE_PERIOD_S: '0' is not a number of sec"),
        ("OCICAT_RECONCILE_PERIOD_S", "inf", "OCICAT_RECONCILE_PERIOD_S: 'inf' is not a number"),
        ("OCICAT_LEAK_GRACE_S", "-1", "OCICAT_LEAK_GRACE_S: '-1' is not a number of seconds"),
        ("OCICAT_LEAK_GRACE_S", "nan", "OCICAT_LEAK_GRACE_S: 'nan' is not a number of seconds"),
        ("OCICAT_HISTORY_DIR", "history", "OCICAT_HISTORY_DIR: 'history' is neither a full path"),
        ("OCICAT_HISTORY_MB", "1e3", "OCICAT_HISTORY_MB: '1e3' is not a number of megabytes"),
        ("OCICAT_IPAMD_METRICS", "9098", "OCICAT_IPAMD_METRICS: '9098' is not address:port"),
        ("OCICAT_IPAMD_METRICS", "10.0.0.1:0", "OCICAT_IPAMD_METRICS: '10.0.0.1:0' is not addr"),
        ("OCICAT_IPAMD_METRICS", "10.0.0.1:65536", "OCICAT_IPAMD_METRICS: '10.0.0.1:65536' is"),
        ("OCICAT_IPAMD_METRICS", "10.0.0.300:80", "OCICAT_IPAMD_METRICS: '10.0.0.300:80' is not"),
        ("OCICAT_IPAMD_METRICS", "::1:9098", "OCICAT_IPAMD_METRICS: '::1:9098' is not address:p"),
        ("OCICAT_LOG_LEVEL", "loud", "OCICAT_LOG_LEVEL: 'loud' is not one of debug, info"),
        ("OCICAT_COLOUR", "red", "OCICAT_COLOUR is not a setting"),
    ],
)
def test_a_mistake_names_the_setting_and_its_value(name, value, mistake):
    text = mistakes_of(**{name: value})

    assert mistake in text
    assert "; " not in text.replace("; there are", "")  # it is the only one


def test_every_mistake_is_reported_at_once():
    environment = {
        "ETCD_ENDPOINTS": "ftp://x",
        "IP": "x",
        "IP6": "x",
        "IP_AUTODETECTION_METHOD": "guess",
        "IP6_AUTODETECTION_METHOD": "guess",
        "AUTODETECT_POLL_INTERVAL": "x",
        "AS": "y",
        "CALICO_IPV4POOL_CIDR": "z",
        "CALICO_IPV4POOL_IPIP": "q",
        "CALICO_IPV6POOL_CIDR": "z",
        "NO_DEFAULT_POOLS": "r",
        "OCICAT_LEAK_GRACE_S": "s",
        "OCICAT_IPAMD_METRICS": "t",
        "OCICAT_LOG_LEVEL": "loud",
        "OCICAT_COLOUR": "red",
    }

    text = mistakes_of(**environment)

    assert [name for name in environment if name not in text] == []


def test_settings_of_the_other_daemons_are_no_mistakes():
    read(OCICAT_BIRD_SOCKET="/x", OCICAT_SPOOL_DIR="/y", HOME="/home/somebody")
