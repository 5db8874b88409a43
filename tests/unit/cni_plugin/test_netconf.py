import json
from ipaddress import ip_address

import pytest

from cni_plugin.cni_error import CniError, code_of
from cni_plugin.netconf import NetConf, ipam_netconf_of, netconf_of
from cni_plugin.stdin import Keys, parse, spoken_version, version_of
from datamodel.errors import Invalid, OcicatError, Unsupported

CONF = {"cniVersion": "1.0.0", "name": "net", "type": "ocicat"}

# The calico entry of the list that Kubespray installs, as libcni hands it over.
KUBESPRAYS = {
    "cniVersion": "0.3.1",
    "name": "cni0",
    "type": "calico",
    "nodename": "node-1",
    "log_level": "info",
    "etcd_endpoints": "https://10.0.0.1:2379,https://10.0.0.2:2379",
    "etcd_cert_file": "/etc/calico/certs/cert.crt",
    "etcd_key_file": "/etc/calico/certs/key.pem",
    "etcd_ca_cert_file": "/etc/calico/certs/ca_cert.crt",
    "ipam": {"type": "calico-ipam", "assign_ipv4": "true", "ipv4_pools": ["10.233.64.0/18"]},
    "feature_control": {"ip_addrs_no_ipam": True},
    "policy": {"type": "k8s"},
    "mtu": 1480,
    "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"},
}

# The entry that Calico's own installer writes.
CALICOS = {
    "cniVersion": "1.0.0",
    "name": "k8s-pod-network",
    "type": "calico",
    "log_level": "info",
    "log_file_path": "/var/log/calico/cni/cni.log",
    "datastore_type": "kubernetes",
    "nodename": "node-1",
    "mtu": 0,
    "ipam": {"type": "calico-ipam"},
    "policy": {"type": "k8s"},
    "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"},
    "capabilities": {"portMappings": True},
    "runtimeConfig": {"portMappings": [{"HostPort": 8080}]},
}


def read(document=CONF, **more) -> NetConf:
    keys = parse(json.dumps({**document, **more}).encode())
    return netconf_of(keys, str(keys.get("name", str, "")), version_of(keys, "ADD"))


def refusal(**more) -> OcicatError:
    with pytest.raises(OcicatError) as caught:
        read(**more)
    return caught.value


# ---- what is accepted --------------------------------------------------------------------------


def test_the_smallest_configuration_has_calicos_defaults():
    assert read() == NetConf(
        cni_version="1.0.0",
        name="net",
        mtu=None,
        families=(4,),
        ipv4_pools=(),
        ipv6_pools=(),
        is_kubernetes=False,
        allows_ip_forwarding=False,
        prev_result=None,
    )


def test_the_entry_of_kubespray_is_accepted_as_it_is():
    assert read(KUBESPRAYS) == NetConf(
        "0.3.1", "cni0", mtu=1480, ipv4_pools=("10.233.64.0/18",), is_kubernetes=True
    )


def test_the_entry_of_calicos_installer_is_accepted_as_it_is():
    assert read(CALICOS) == NetConf("1.0.0", "k8s-pod-network", is_kubernetes=True)


def test_keys_match_in_any_case():
    conf = read(
        {},
        CNIVERSION="0.4.0",
        NAME="net",
        MTU=1400,
        IPAM={"Type": "ocicat-ipam", "IPv4_Pools": ["p"]},
        Policy={"TYPE": "k8s"},
        Container_Settings={"Allow_IP_Forwarding": True},
        PREVRESULT={"IPS": []},
        RuntimeConfig={"IPs": ["10.0.0.5"], "Mac": "02:00:00:00:00:05"},
    )

    assert conf == NetConf(
        cni_version="0.4.0",
        name="net",
        mtu=1400,
        ipv4_pools=("p",),
        is_kubernetes=True,
        allows_ip_forwarding=True,
        prev_result={"interfaces": [], "ips": [], "routes": []},
        addresses=(ip_address("10.0.0.5"),),
        mac="02:00:00:00:00:05",
    )


def test_of_keys_that_differ_in_case_only_the_last_counts():
    assert Keys({"mtu": 1, "MTU": 2}).get("mtu", int, 0) == 2


def test_null_means_that_a_key_is_absent():
    conf = read(mtu=None, ipam=None, policy=None, prevResult=None, container_settings=None)

    assert conf == read()


def test_keys_that_nobody_knows_are_ignored():
    assert read(args={"cni": {"x": 1}}, **{"cni.dev/x": [], "dnss": 5}) == read()


@pytest.mark.parametrize("kind", ["calico-ipam", "ocicat-ipam"])
def test_our_ipam_has_two_names(kind):
    assert read(ipam={"type": kind}) == read()


def test_pools_may_be_names_or_ranges():
    assert read(ipam={"ipv4_pools": ["gold", "10.1.0.0/16"]}).ipv4_pools == ("gold", "10.1.0.0/16")


@pytest.mark.parametrize(
    ("ipam", "families"),
    [
        ({}, (4,)),
        ({"assign_ipv4": "true", "assign_ipv6": "false"}, (4,)),
        ({"assign_ipv6": "true"}, (4, 6)),
        ({"assign_ipv6": "TRUE", "assign_ipv4": "False"}, (6,)),
    ],
)
def test_the_families_are_chosen_in_words(ipam, families):
    assert read(ipam=ipam).families == families


def test_pools_of_ipv6_are_names_or_ranges_too():
    assert read(ipam={"ipv6_pools": ["gold", "fd00::/64"]}).ipv6_pools == ("gold", "fd00::/64")


# ---- versions ----------------------------------------------------------------------------------

ALL = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]


@pytest.mark.parametrize("version", ALL)
def test_these_versions_are_spoken(version):
    assert version_of(Keys({"cniVersion": version}), "ADD") == version


@pytest.mark.parametrize("version", ["1.0", "1.0.1", "v1.0.0", "9.9.9", "0.3", "1.1.0 ", "junk"])
def test_any_other_version_is_refused(version):
    with pytest.raises(CniError) as caught:
        version_of(Keys({"cniVersion": version}), "ADD")

    assert caught.value.code == 1
    assert str(caught.value) == "incompatible CNI versions"
    assert f'config is "{version}", plugin supports' in caught.value.details


@pytest.mark.parametrize("document", [{}, {"cniVersion": ""}, {"cniVersion": None}])
def test_no_version_means_the_oldest(document):
    assert version_of(Keys(document), "ADD") == "0.1.0"


@pytest.mark.parametrize("version", [1.0, ["1.0.0"], True])
def test_a_version_that_is_no_text_cannot_be_decoded(version):
    with pytest.raises(CniError) as caught:
        version_of(Keys({"cniVersion": version}), "ADD")

    assert caught.value.code == 6


@pytest.mark.parametrize(
    ("command", "first"), [("CHECK", "0.4.0"), ("GC", "1.1.0"), ("STATUS", "1.1.0")]
)
def test_a_command_is_served_from_the_version_that_brought_it(command, first):
    for version in ALL:
        if version >= first:
            assert version_of(Keys({"cniVersion": version}), command) == version
            continue
        with pytest.raises(CniError) as caught:
            version_of(Keys({"cniVersion": version}), command)
        assert caught.value.code == 1
        assert str(caught.value) == f"config version does not allow {command}"


@pytest.mark.parametrize("command", ["CHECK", "GC", "STATUS"])
@pytest.mark.parametrize(("version", "code"), [("junk", 6), ("1.x", 6), ("1.1", 1), ("9.0.0", 1)])
def test_a_version_that_is_compared_must_be_one(command, version, code):
    with pytest.raises(CniError) as caught:
        version_of(Keys({"cniVersion": version}), command)

    assert caught.value.code == code


@pytest.mark.parametrize(
    ("stdin", "version"),
    [
        (b'{"cniVersion":"0.2.0"}', "0.2.0"),
        (b'{"CNIVERSION":"0.4.0"}', "0.4.0"),
        (b'{"cniVersion":"7.0.0"}', "1.1.0"),
        (b'{"cniVersion":5}', "1.1.0"),
        (b"{}", "1.1.0"),
        (b"", "1.1.0"),
        (b"{", "1.1.0"),
    ],
)
def test_a_failure_is_told_in_the_configurations_version_if_it_is_one(stdin, version):
    assert spoken_version(stdin) == version


# ---- what is no configuration ------------------------------------------------------------------


@pytest.mark.parametrize(
    "stdin",
    [
        b"",
        b" ",
        b"{",
        b'{"name":"x"}}',
        b'{"name":"x"} trailing',
        b"[]",
        b'"text"',
        b"5",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"x":' * 10_000 + b"1" + b"}" * 10_000,
        b"\xef\xbb\xbf{}",
        b'{"name":"x"}\0',
        b'{"name":"x\0y"}',
        b'{"x":1e}',
        b'{"name":"x","mtu":NaN}',
        b'{"name":"x","mtu":-Infinity}',
    ],
)
def test_what_is_not_a_json_object_cannot_be_decoded(stdin):
    with pytest.raises(CniError) as caught:
        parse(stdin)

    assert caught.value.code == 6
    assert "network configuration on stdin" in str(caught.value)


def test_a_null_has_no_network_name():
    with pytest.raises(CniError) as caught:
        parse(b"null")

    assert caught.value.code == 7


# ---- mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "mistake"),
    [
        ({"mtu": "1500"}, "mtu: '1500' is not a number"),
        ({"mtu": True}, "mtu: True is not a number"),
        ({"mtu": 1500.5}, "mtu: 1500.5 is not a number"),
        ({"ipam": []}, "ipam: [] is not an object"),
        ({"ipam": {"type": 5}}, "ipam.type: 5 is not a string"),
        ({"ipam": {"ipv4_pools": "10.0.0.0/8"}}, "ipam.ipv4_pools: '10.0.0.0/8' is not a list"),
        ({"ipam": {"ipv4_pools": ["10.0.0.1/8"]}}, "10.0.0.1/8 has host bits set"),
        ({"ipam": {"ipv4_pools": ["10.0.0.0/99"]}}, "10.0.0.0/99"),
        ({"ipam": {"ipv4_pools": ["fd00::/64"]}}, "fd00::/64"),
        ({"policy": "k8s"}, "policy: 'k8s' is not an object"),
        ({"container_settings": 1}, "container_settings: 1 is not an object"),
        (
            {"container_settings": {"allow_ip_forwarding": "yes"}},
            "container_settings.allow_ip_forwarding: 'yes' is not true or false",
        ),
        ({"ipam": {"ipv6_pools": ["10.0.0.0/8"]}}, "ipam.ipv6_pools: '10.0.0.0/8' is neither"),
        ({"ipam": {"assign_ipv4": "yes"}}, "ipam.assign_ipv4: 'yes' is neither 'true' nor 'false'"),
        ({"ipam": {"assign_ipv4": "false"}}, "neither family is wanted"),
        ({"ipam": {"routes": [{}]}}, "ipam.routes[0]: {} is not a route"),
        ({"ipam": {"routes": ["x"]}}, "ipam.routes[0]: 'x' is not a route"),
        ({"dns": {"nameservers": "10.0.0.1"}}, "dns.nameservers: '10.0.0.1' is not a list"),
        ({"runtimeConfig": {"mac": "02:00"}}, "mac: '02:00' is not six pairs"),
        ({"runtimeConfig": {"mac": "01:00:5e:00:00:01"}}, "is not the address of one interface"),
        ({"args": {"cni": {"mac": "00:00:00:00:00:00"}}}, "is not the address of one interface"),
        ({"prevResult": "x"}, "prevResult: 'x' is not an object"),
        ({"prevResult": {"interfaces": 5}}, "prevResult.interfaces: 5 is not a list of objects"),
        ({"prevResult": {"ips": ["10.0.0.1"]}}, "prevResult.ips: ['10.0.0.1'] is not a list of"),
        ({"ipam": {"assign_ipv4": True}}, "ipam.assign_ipv4: True is not a string"),
    ],
)
def test_a_mistake_names_the_key_and_the_value(more, mistake):
    error = refusal(**more)

    assert isinstance(error, Invalid)
    assert code_of(error) == 7
    assert str(error).startswith("network net: ")
    assert mistake in str(error)


def test_every_mistake_is_reported_at_once():
    text = str(
        refusal(
            mtu="large",
            ipam={"type": 5, "ipv4_pools": ["10.0.0.1/8"], "assign_ipv6": False},
            policy=[],
            container_settings={"allow_ip_forwarding": 0},
            prevResult=[],
        )
    )

    for key in (
        "mtu",
        "ipam.type",
        "ipam.ipv4_pools",
        "ipam.assign_ipv6",
        "policy",
        "container_settings.allow_ip_forwarding",
        "prevResult",
    ):
        assert f"{key}: " in text


@pytest.mark.parametrize("kind", ["host-local", "dhcp", ""])
def test_another_ipam_is_not_served(kind):
    error = refusal(ipam={"type": kind})

    assert isinstance(error, Unsupported)
    assert code_of(error) == 2
    assert f"ipam.type {kind!r}" in str(error)


# ---- requested addresses -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "extra",
    [
        {"runtimeConfig": {"ips": ["10.0.0.5/24"]}},
        {"runtimeConfig": {"ips": ["10.0.0.5"]}},
        {"args": {"cni": {"ips": ["10.0.0.5"]}}},
        {"runtimeConfig": {"ips": ["10.0.0.5"]}, "args": {"cni": {"ips": ["10.0.0.6"]}}},
    ],
)
def test_addresses_may_be_asked_for_by_capability_or_args(extra):
    assert [str(address) for address in read(**extra).addresses] == ["10.0.0.5"]


@pytest.mark.parametrize("ips", [["10.0.0.5", "10.0.0.6"], ["nonsense"], "10.0.0.5"])
def test_addresses_that_cannot_be_are_refused(ips):
    refused = refusal(runtimeConfig={"ips": ips})

    assert isinstance(refused, Invalid)
    assert "ips" in str(refused)


@pytest.mark.parametrize(
    ("extra", "mac"),
    [
        ({"runtimeConfig": {"mac": "0A-58-0a-00-00-05"}}, "0a:58:0a:00:00:05"),
        ({"args": {"cni": {"mac": "02:00:00:00:00:05"}}}, "02:00:00:00:00:05"),
        (
            {
                "runtimeConfig": {"mac": "02:00:00:00:00:01"},
                "args": {"cni": {"mac": "02:00:00:00:00:02"}},
            },
            "02:00:00:00:00:01",
        ),
        ({"runtimeConfig": {"mac": ""}}, ""),
    ],
)
def test_a_mac_may_be_asked_for_by_capability_or_args(extra, mac):
    assert read(**extra).mac == mac


# ---- resolver settings -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "dns"),
    [
        ({}, None),
        ({"dns": {}}, None),
        ({"dns": {"nameservers": []}}, {"nameservers": []}),
        ({"dns": {"domain": "x", "Search": ["y"]}}, {"domain": "x", "search": ["y"]}),
        (
            {"runtimeConfig": {"dns": {"Servers": ["10.0.0.1"], "Searches": [], "Options": []}}},
            {"nameservers": ["10.0.0.1"]},
        ),
        (
            {
                "dns": {"nameservers": ["10.0.0.1"], "search": ["a"]},
                "runtimeConfig": {"dns": {"servers": ["10.0.0.2"]}},
            },
            {"nameservers": ["10.0.0.2"], "search": ["a"]},
        ),
    ],
)
def test_the_runtimes_resolver_settings_count_more_than_the_lists(extra, dns):
    assert read(**extra).dns == dns


# ---- the IPAM role -----------------------------------------------------------------------------


def test_the_ipam_role_does_not_mind_what_is_another_plugins():
    document = {
        **CONF,
        "mtu": "large",
        "policy": 5,
        "prevResult": "junk",
        "ipam": {"type": "wrapped", "assign_ipv6": "true", "routes": [{"dst": "0.0.0.0/0"}]},
    }
    keys = parse(json.dumps(document).encode())

    conf = ipam_netconf_of(keys, "net", "1.0.0")

    assert conf == NetConf("1.0.0", "net", families=(4, 6), routes=({"dst": "0.0.0.0/0"},))


def test_an_error_shows_no_more_of_a_value_than_helps():
    assert len(str(refusal(mtu="x" * 1_000_000))) < 500


# ---- logging, features -------------------------------------------------------------------------


def test_floating_ips_are_not_allowed_unless_the_feature_is_on():
    assert not read().allows_floating_ips
    assert not read(feature_control={"ip_addrs_no_ipam": True}).allows_floating_ips
    assert read(feature_control={"floating_ips": True}).allows_floating_ips


def test_a_mistake_about_the_log_file_is_one_of_the_configuration():
    assert "log_file_max_size: -1 is negative" in str(
        refusal(log_file_path="/var/log/cni.log", log_file_max_size=-1)
    )
