"""The call, checked by the CNI specification's rules before anything is touched."""

import json
from ipaddress import ip_address

import pytest

from cni_plugin.args import (
    Invocation,
    ifname_mistake,
    parse,
    parse_for_network,
    pod_of,
    requested_addresses,
)
from cni_plugin.cni_error import CniError, code_of
from cni_plugin.pod_facts import PodFacts
from datamodel.attachment import Attachment, Pod
from datamodel.endpoint import Workload
from datamodel.errors import Invalid, OcicatError

ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "4f0c9a5d2b",
    "CNI_NETNS": "/var/run/netns/x",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=mypod",
    "CNI_PATH": "/opt/cni/bin",
}
CONF = {"cniVersion": "1.0.0", "name": "net", "type": "ocicat"}


def a_call(conf=CONF, stdin: bytes | None = None, stdin_mistake: str = "", **environment: str):
    stdin = json.dumps(conf).encode() if stdin is None else stdin
    values = {k: v for k, v in {**ENVIRONMENT, **environment}.items() if v is not None}
    return Invocation(values, stdin, netns_fd=7, stdin_mistake=stdin_mistake)


def refusal(invocation: Invocation, command: str = "ADD") -> OcicatError:
    with pytest.raises(OcicatError) as caught:
        parse(invocation, command)
    return caught.value


# ---- a call that is right ----------------------------------------------------------------------


@pytest.mark.parametrize("command", ["ADD", "DEL", "CHECK"])
def test_a_right_call_names_attachment_pod_and_namespace(command):
    args = parse(a_call(), command)

    assert args.attachment == Attachment("net", "4f0c9a5d2b", "eth0")
    assert args.pod == Pod("default", "mypod")
    assert args.netns == "/var/run/netns/x"
    assert args.netns_fd == 7
    assert args.conf.cni_version == "1.0.0"


def test_cni_path_is_needed_only_by_those_who_delegate():
    parse(a_call(CNI_PATH=None), "ADD")


@pytest.mark.parametrize("netns", [None, "", "/gone"])
def test_a_del_needs_no_namespace(netns):
    assert parse(a_call(CNI_NETNS=netns), "DEL").attachment.container_id == "4f0c9a5d2b"


@pytest.mark.parametrize(
    "container_id", ["a", "default-t1", "cnitool-77383ca0a0715733ca6f", "A_b.c-d", "f" * 300]
)
def test_a_container_id_may_be_long_and_have_dots_and_dashes(container_id):
    assert (
        parse(a_call(CNI_CONTAINERID=container_id), "ADD").attachment.container_id == container_id
    )


@pytest.mark.parametrize("ifname", ["eth0", "a" * 15, "net1.100", "éth0", "a%"[:1], "ALL"])
def test_an_interface_may_have_any_name_that_the_kernel_takes(ifname):
    assert parse(a_call(CNI_IFNAME=ifname), "ADD").attachment.ifname == ifname


# ---- what the pod asks for ---------------------------------------------------------------------

TOLD = PodFacts(Workload())


def told(facts: PodFacts, **conf):
    ipam = {"type": "ocicat-ipam", "ipv4_pools": ["blue"], **conf}
    call = a_call({**CONF, "ipam": ipam}, CNI_ARGS="IP=10.0.0.9;MAC=02:00:00:00:00:01")
    return parse(call, "ADD").told(facts)


def test_a_pod_that_asks_for_nothing_changes_nothing():
    args = told(TOLD)

    assert (args.conf.families, args.conf.ipv4_pools, args.conf.ipv6_pools) == ((4,), ("blue",), ())
    assert (args.addresses, args.mac) == ((ip_address("10.0.0.9"),), "02:00:00:00:00:01")
    assert args.facts is TOLD


def test_what_a_pod_asks_for_counts_more():
    facts = PodFacts(
        Workload(), versions=(4, 6), pools={4: ("red",), 6: ("six",)}, mac="02:00:00:00:00:02"
    )

    args = told(facts)

    assert args.conf.families == (4, 6)
    assert (args.conf.ipv4_pools, args.conf.ipv6_pools) == (("red",), ("six",))
    assert args.mac == "02:00:00:00:00:02"


def test_a_pod_that_names_its_addresses_gets_these_and_no_other_family():
    facts = PodFacts(Workload(), versions=(4,), addresses=(ip_address("fd00::5"),))

    args = told(facts)

    assert (args.conf.families, args.addresses) == ((6,), (ip_address("fd00::5"),))


def test_a_pod_may_want_any_pool():
    assert told(PodFacts(Workload(), pools={4: ()})).conf.ipv4_pools == ()


def test_a_floating_ip_needs_an_address_to_lead_to():
    floating = Workload(floating_ips=(ip_address("172.18.9.9"), ip_address("fc00::9")))

    with pytest.raises(Invalid, match="floating IP fc00::9: the pod gets no address of its family"):
        told(PodFacts(floating))
    assert told(PodFacts(floating, versions=(4, 6))).facts is not None


# ---- environment -------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["ADD", "CHECK"])
def test_all_missing_variables_are_named_at_once_in_their_order(command):
    error = refusal(a_call(CNI_IFNAME=None, CNI_CONTAINERID="", CNI_NETNS=None), command)

    assert code_of(error) == 4
    assert str(error) == "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing"


def test_a_del_names_what_it_misses_and_not_the_namespace():
    error = refusal(a_call(CNI_IFNAME=None, CNI_CONTAINERID=None, CNI_NETNS=None), "DEL")

    assert str(error) == "required env variables [CNI_CONTAINERID,CNI_IFNAME] missing"


@pytest.mark.parametrize("container_id", ["a/../b", "-a", ".a", "_a", "a b", "ab\n", "ä", "a:b"])
@pytest.mark.parametrize("command", ["ADD", "DEL", "CHECK"])
def test_a_malformed_container_id_is_refused_with_its_value(container_id, command):
    error = refusal(a_call(CNI_CONTAINERID=container_id), command)

    assert isinstance(error, CniError)
    assert error.code == 4
    assert "invalid characters in containerID" in str(error)
    assert "CNI_CONTAINERID" in str(error)
    assert error.details == container_id


@pytest.mark.parametrize(
    ("ifname", "mistake"),
    [
        ("a" * 16, "too long"),
        ("éééééééé", "too long"),  # sixteen bytes
        (".", ". or .."),
        ("..", ". or .."),
        ("a/b", "contains"),
        ("a:b", "contains"),
        ("e%d", "contains"),
        ("a b", "contains"),
        ("a\tb", "contains"),
        ("a\u2003b", "contains"),
        ("a\x01", "contains"),
        ("a\x1b[m", "contains"),
        ("a\u202eb", "contains"),
        ("all", "sysctl"),
        ("default", "sysctl"),
        ("\udce9th0", "UTF-8"),  # a byte that is no text, as Python hands it over
    ],
)
def test_a_malformed_interface_name_is_refused_with_its_value(ifname, mistake):
    error = refusal(a_call(CNI_IFNAME=ifname))

    assert isinstance(error, CniError)
    assert error.code == 4
    assert "CNI_IFNAME" in str(error)
    assert mistake in str(error)
    assert error.details == ifname


def test_a_malformed_value_counts_more_than_a_missing_one():
    error = refusal(a_call(CNI_CONTAINERID="a/b", CNI_IFNAME=None))

    assert "invalid characters" in str(error)


def test_the_environment_is_checked_before_stdin():
    error = refusal(a_call(stdin=b"", CNI_CONTAINERID=None))

    assert code_of(error) == 4


@pytest.mark.parametrize("ifname", ["eth0", "net1", "x", "cali-1"])
def test_usual_names_have_no_mistake(ifname):
    assert ifname_mistake(ifname) == ""


# ---- CNI_ARGS ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cni_args",
    [
        "K8S_POD_NAMESPACE=default;K8S_POD_NAME=mypod",
        "K8S_POD_NAME=mypod;IgnoreUnknown=1;K8S_POD_NAMESPACE=default",
        "IgnoreUnknown=1;IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=mypod;",
        ";;K8S_POD_NAMESPACE=default;nonsense;K8S_POD_NAME=mypod",
        "K8S_POD_NAMESPACE=default;K8S_POD_NAME=old;K8S_POD_NAME=mypod",
        "FOO=a=b;K8S_POD_NAMESPACE=default;K8S_POD_NAME=mypod",
    ],
)
def test_the_pod_is_found_however_the_arguments_are_written(cni_args):
    assert pod_of(cni_args) == Pod("default", "mypod")


@pytest.mark.parametrize(
    "cni_args",
    [
        "",
        "IgnoreUnknown=1",
        "K8S_POD_NAME=mypod",
        "K8S_POD_NAMESPACE=default",
        "K8S_POD_NAMESPACE=;K8S_POD_NAME=mypod",
        "k8s_pod_namespace=default;k8s_pod_name=mypod",
        "K8S_POD_NAMESPACE=../x;K8S_POD_NAME=mypod",
        "K8S_POD_NAMESPACE=default;K8S_POD_NAME=a/b",
    ],
)
def test_without_both_names_in_good_form_there_is_no_pod(cni_args):
    assert pod_of(cni_args) is None


@pytest.mark.parametrize(
    ("cni_args", "addresses"),
    [
        ("", ()),
        ("IP=", ()),
        ("IP=none", ()),
        ("IP=10.233.64.5", ("10.233.64.5",)),
        ("IP=2001:db8::5", ("2001:db8::5",)),
        ("IgnoreUnknown=1;IP=10.233.64.5,2001:db8::5;X=1", ("10.233.64.5", "2001:db8::5")),
        ("IP=2001:db8::5,10.233.64.5", ("2001:db8::5", "10.233.64.5")),
        ("IP=10.233.64.4;IP=10.233.64.5", ("10.233.64.5",)),
        ("ip=10.233.64.5", ()),
    ],
)
def test_an_address_of_each_family_may_be_asked_for(cni_args, addresses):
    assert requested_addresses(cni_args) == tuple(map(ip_address, addresses))
    assert parse(a_call(CNI_ARGS=cni_args), "ADD").addresses == tuple(map(ip_address, addresses))


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("10.233.64.5/24", "'10.233.64.5/24' does not appear"),
        ("10.233.64.256", "'10.233.64.256' does not appear"),
        ("web", "'web' does not appear"),
        ("10.233.64.5,", "'' does not appear"),
        ("10.233.64.5, 2001:db8::5", "' 2001:db8::5' does not appear"),
        ("10.233.64.5,none", "'none' does not appear"),
        ("10.233.64.5,10.233.64.6", "more than one address of a family"),
        ("2001:db8::5,2001:db8::5", "more than one address of a family"),
        ("10.233.64.5,2001:db8::5,10.233.64.5", "more than one address of a family"),
    ],
)
def test_an_address_that_is_none_is_refused_with_its_value(text, mistake):
    error = refusal(a_call(CNI_ARGS=f"IP={text}"))

    assert isinstance(error, CniError)
    assert error.code == 4
    assert str(error).startswith("CNI_ARGS IP: ")
    assert mistake in str(error)
    assert error.details == text


@pytest.mark.parametrize("command", ["DEL", "CHECK"])
def test_only_an_add_minds_the_address_that_is_asked_for(command):
    assert parse(a_call(CNI_ARGS="IP=junk"), command).addresses == ()


@pytest.mark.parametrize(
    ("conf", "addresses"),
    [
        ({"runtimeConfig": {"ips": ["10.0.0.5/24"]}}, ("10.0.0.5",)),
        ({"args": {"cni": {"ips": ["10.0.0.6"]}}}, ("10.0.0.6",)),
        ({}, ("10.0.0.7",)),
    ],
)
def test_the_configurations_address_counts_more_than_that_of_cni_args(conf, addresses):
    args = parse(a_call(conf={**CONF, **conf}, CNI_ARGS="IP=10.0.0.7"), "ADD")

    assert args.addresses == tuple(map(ip_address, addresses))


def test_a_mac_may_be_asked_for_by_cni_args():
    assert parse(a_call(CNI_ARGS="MAC=0A:58:0A:00:00:05"), "ADD").mac == "0a:58:0a:00:00:05"
    conf = {**CONF, "args": {"cni": {"mac": "02:00:00:00:00:01"}}}
    assert parse(a_call(conf, CNI_ARGS="MAC=02:00:00:00:00:02"), "ADD").mac == "02:00:00:00:00:01"


@pytest.mark.parametrize("mac", ["x", "01:00:00:00:00:00", "02:00:00:00:00"])
def test_a_mac_that_is_none_is_refused_with_its_value(mac):
    error = refusal(a_call(CNI_ARGS=f"MAC={mac}"))

    assert isinstance(error, CniError)
    assert (error.code, error.details) == (4, mac)
    assert str(error).startswith("CNI_ARGS MAC: ")


# ---- GC and STATUS -----------------------------------------------------------------------------

NEWEST = {**CONF, "cniVersion": "1.1.0"}


@pytest.mark.parametrize(
    ("keys", "valid"),
    [
        (
            {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]},
            {("c1", "eth0")},
        ),
        ({"cni.dev/attachments": [{"ContainerID": "c1", "IfName": "net1"}]}, {("c1", "net1")}),
        ({"cni.dev/valid-attachments": None}, set()),
        ({"cni.dev/valid-attachments": []}, set()),
        (
            {"cni.dev/valid-attachments": [], "cni.dev/attachments": [{"x": 1}]},
            set(),
        ),
    ],
)
def test_a_gc_says_what_is_valid(keys, valid):
    blank = {"CNI_CONTAINERID": "", "CNI_NETNS": "", "CNI_IFNAME": ""}

    args = parse_for_network(a_call(conf={**NEWEST, **keys}, **blank), "GC")

    assert args.valid == valid


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"cni.dev/valid-attachments": {}},
        {"cni.dev/valid-attachments": ["c1"]},
        {"cni.dev/valid-attachments": [{"containerID": "c1"}]},
        {"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": 5}]},
        {"cni.dev/valid-attachments": [{"containerID": "", "ifname": "eth0"}]},
    ],
)
def test_a_gc_that_does_not_say_what_is_valid_is_refused(keys):
    with pytest.raises(OcicatError) as caught:
        parse_for_network(a_call(conf={**NEWEST, **keys}), "GC")

    assert code_of(caught.value) == 7
    assert "cni.dev/valid-attachments" in str(caught.value)


@pytest.mark.parametrize("command", ["GC", "STATUS"])
def test_they_need_a_version_that_knows_them(command):
    with pytest.raises(OcicatError) as caught:
        parse_for_network(a_call(), command)

    assert code_of(caught.value) == 1
    assert str(caught.value) == f"config version does not allow {command}"


# ---- stdin -------------------------------------------------------------------------------------


def test_a_stdin_that_cannot_be_read_is_an_io_failure():
    error = refusal(a_call(stdin_mistake="cannot be read: Is a directory"))

    assert code_of(error) == 5
    assert "Is a directory" in str(error)


@pytest.mark.parametrize("name", [None, ""])
def test_a_network_needs_a_name(name):
    error = refusal(a_call(conf={**CONF, "name": name}))

    assert code_of(error) == 7
    assert str(error) == "missing network name"


@pytest.mark.parametrize("name", ["a/b", "-a", "a b", "ab\n", "ä"])
def test_a_malformed_network_name_is_refused(name):
    error = refusal(a_call(conf={**CONF, "name": name}))

    assert code_of(error) == 7
    assert "invalid characters found in network name" in str(error)


def test_a_network_name_that_is_no_text_is_refused():
    assert code_of(refusal(a_call(conf={**CONF, "name": 5}))) == 7


def test_the_name_is_checked_before_the_version():
    error = refusal(a_call(conf={"cniVersion": "9.9.9", "name": "a/b"}))

    assert code_of(error) == 7


def test_a_check_needs_a_version_that_knows_it():
    error = refusal(a_call(conf={**CONF, "cniVersion": "0.3.1"}), "CHECK")

    assert code_of(error) == 1
    assert str(error) == "config version does not allow CHECK"


@pytest.mark.parametrize(
    "rest",
    [
        {"prevResult": "junk"},
        {"prevResult": {"interfaces": 5}},
        {"mtu": "large"},
        {"ipam": {"type": "host-local"}},
        {"ipam": {"type": "calico-ipam", "assign_ipv4": "maybe"}},
        {"ipam": {"type": "calico-ipam", "ipv4_pools": ["10.0.0.1/8"]}},
    ],
)
def test_a_del_does_not_fail_for_what_it_does_not_use(rest):
    """The list may have been edited since the ADD; a DEL that fails keeps its pod for ever."""
    args = parse(a_call(conf={**CONF, **rest}), "DEL")

    assert args.attachment == Attachment("net", "4f0c9a5d2b", "eth0")
