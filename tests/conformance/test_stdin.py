"""The configuration on stdin: what is refused, what is ignored, what is read in any case."""

import json
import os

import pytest

from tests.conformance.plugin import all_with_one
from tests.conformance.rules import rule

MALFORMED = {
    "nothing": "",
    "blank": " \n",
    "half an object": '{"cniVersion": "1.0.0", "na',
    "array": "[]",
    "text": '"text"',
    "number": "1",
    "trailing garbage": '{"cniVersion": "1.0.0", "name": "n"} trailing',
    "two objects": '{"cniVersion": "1.0.0", "name": "n"}{}',
    "byte order mark": '\ufeff{"cniVersion": "1.0.0", "name": "n"}',
    "no value": '{"name": }',
    "trailing comma": '{"cniVersion": "1.0.0", "name": "n",}',
    "single quotes": "{'name': 'n'}",
    "NaN": '{"cniVersion": "1.0.0", "name": "n", "mtu": NaN}',
    "infinity": '{"cniVersion": "1.0.0", "name": "n", "mtu": -Infinity}',
    "control character": '{"cniVersion": "1.0.0", "name": "n", "x": "a\nb"}',
    "raw NUL": '{"cniVersion": "1.0.0",\0 "name": "n"}',
    "UTF-16": '{"cniVersion": "1.0.0", "name": "n"}'.encode("utf-16"),
}


@rule("I1", "A4")
@pytest.mark.parametrize(("verb", "what"), all_with_one("ADD", ["CHECK", "DEL"], MALFORMED))
def test_stdin_that_is_no_json_object_is_refused(node, pod, before, verb, what):
    node.call(verb, pod, stdin=MALFORMED[what]).assert_refused(6)

    assert node.snapshot() == before


@rule("I3")
@pytest.mark.parametrize("verb", ["ADD", "CHECK", "DEL"])
def test_null_has_no_network_name(node, pod, before, verb):
    node.call(verb, pod, stdin="null").assert_refused(7, "missing network name")

    assert node.snapshot() == before


@rule("I2", "A4")
@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_stdin_that_cannot_be_read_is_refused(node, pod, before, tmp_path, verb):
    fd = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    try:
        node.call(verb, pod, stdin=fd).assert_refused(5)
    finally:
        os.close(fd)

    assert node.snapshot() == before


@rule("I3", "A4")
@pytest.mark.parametrize(
    ("verb", "name"),
    all_with_one("ADD", ["CHECK", "DEL"], ["a/b", None, "", "-a", ".a", "a b", "a\n", "é"]),
)
def test_a_network_without_a_right_name_is_refused(node, pod, before, verb, name):
    node.call(verb, pod, conf={"name": name}).assert_refused(7, "network name")

    assert node.snapshot() == before


@rule("I4")
@pytest.mark.parametrize("verb", ["ADD", "CHECK", "DEL"])
def test_the_name_is_looked_at_before_the_version(node, pod, before, verb):
    outcome = node.call(verb, pod, conf={"name": "a/b", "cniVersion": "9.9.9"})

    outcome.assert_refused(7, "network name")
    assert node.snapshot() == before


@rule("I5", "A4")
@pytest.mark.parametrize("value", [1, 1.0, ["1.0.0"], {"v": "1.0.0"}, True])
@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_a_version_that_is_no_string_is_refused(node, pod, before, verb, value):
    node.call(verb, pod, conf={"cniVersion": value}).assert_refused(6)

    assert node.snapshot() == before


# ---- keys ------------------------------------------------------------------------------------


def upper(value):
    """The same document with all keys in capitals."""
    if isinstance(value, dict):
        return {key.upper(): upper(item) for key, item in value.items()}
    return [upper(item) for item in value] if isinstance(value, list) else value


@rule("I6")
def test_keys_match_in_any_case(node, pod, before):
    conf = upper(node.plugin.conf_with({"mtu": 1400}))

    outcome = node.call("ADD", pod, stdin=json.dumps(conf))

    assert outcome.status == 0, outcome
    assert node.links(pod)["eth0"]["mtu"] == 1400
    assert outcome.document["cniVersion"] == node.plugin.conf["cniVersion"]
    version = outcome.document.pop("cniVersion")
    conf["PREVRESULT"] = {"CNIVersion": version, **outcome.document}
    assert node.call("CHECK", pod, stdin=json.dumps(conf)).is_silent_success
    assert node.call("DEL", pod, stdin=json.dumps(conf)).is_silent_success
    assert node.snapshot() == before


@rule("I6")
def test_of_equal_keys_the_last_counts(node, pod):
    text = json.dumps(node.plugin.conf_with({"mtu": 1400}))
    twice = '{"mtu": "text", "MTU": 70000, "name": "a/b", ' + text[1:]

    outcome = node.call(
        "ADD", pod, stdin=twice.replace('"mtu": "text", "MTU": 70000,', '"mtu": 1300,')
    )

    assert outcome.status == 0, outcome
    assert node.links(pod)["eth0"]["mtu"] == 1400


UNKNOWN = {
    "args": {"cni": {"labels": [{"key": "a", "value": "b"}]}, "other": 1},
    "capabilities": {"portMappings": True, "nonsense": False},
    "cni.dev/future": {"a": [1, 2, {"b": None}]},
    "disableCheck": False,
    "description": "á \u2603",
    "ipMasq": False,
    "big": 1e300,
    "bigger": 2**80,
}


@rule("I7")
def test_keys_that_are_not_known_are_ignored(node, pod, before):
    result = node.added(pod, conf=UNKNOWN)

    assert node.checked(pod, result, **UNKNOWN).is_silent_success
    assert node.call("DEL", pod, conf={**UNKNOWN, "prevResult": result}).is_silent_success
    assert node.snapshot() == before


@rule("I7")
def test_a_type_that_is_not_the_executables_name_is_served(node, pod):
    node.added(pod, conf={"type": "a-wrapper-of-it"})


CONTAINERD = {
    "portMappings": [{"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}],
    "bandwidth": {
        "IngressRate": 1000000,
        "IngressBurst": 4294967295,
        "EgressRate": 0,
        "EgressBurst": 0,
    },
    "dns": {"Servers": ["10.96.0.10"], "Searches": ["svc.cluster.local"], "Options": ["ndots:5"]},
    "io.kubernetes.cri.pod-annotations": {"a": "b"},
    "cgroupPath": "/kubepods/pod1",
}
CRI_O = {
    "bandwidth": {"ingressRate": 1000000, "ingressBurst": 34359738359},
    "cgroupPath": "kubepods.slice",
    "io.kubernetes.cri.pod-annotations": {},
}
PODMAN = {
    "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}],
    "aliases": {"net": ["web", "web.dns"]},
}
MULTUS = {
    "deviceID": "0000:03:02.0",
    "infinibandGUID": "c2:11:22:33:44:55:66:77",
    "CNIDeviceInfoFile": "/var/run/k8s.cni.cncf.io/devinfo/x",
}


@rule("I8")
@pytest.mark.parametrize(
    "config",
    [CONTAINERD, CRI_O, PODMAN, MULTUS, {}],
    ids=["containerd", "CRI-O", "podman", "Multus", "empty"],
)
def test_what_runtimes_pass_for_capabilities_is_taken(node, pod, before, config):
    result = node.added(pod, conf={"runtimeConfig": config})

    assert node.checked(pod, result, runtimeConfig=config).is_silent_success
    assert node.call("DEL", pod, conf={"runtimeConfig": config}).is_silent_success
    assert node.snapshot() == before


@rule("I8")
@pytest.mark.capability("ips")
@pytest.mark.parametrize("key", ["ips", "Ips", "IPs"])
def test_a_capability_is_read_in_either_spelling(node, pod, key):
    wanted = node.unused_address()

    node.added(pod, conf={"runtimeConfig": {key: [f"{wanted}/24"]}})

    assert wanted in node.addresses_in(pod)


# ---- ours ------------------------------------------------------------------------------------


@rule("I9", "A4")
def test_all_mistakes_in_the_configuration_are_named(node, pod, before):
    wrong = {
        "mtu": "big",
        "ipam": {"type": "calico-ipam", "ipv4_pools": ["10.0.0.1/8", "10.300.0.0/16"]},
        "policy": "k8s",
    }

    outcome = node.call("ADD", pod, conf=wrong)

    outcome.assert_refused(7, "mtu", "10.0.0.1/8", "10.300.0.0/16", "policy")
    assert node.snapshot() == before


WRONG = {
    "mtu 70000": ({"mtu": 70000}, "mtu"),
    "mtu 10": ({"mtu": 10}, "mtu"),
    "mtu -1": ({"mtu": -1}, "mtu"),
    "mtu 1.5": ({"mtu": 1.5}, "mtu"),
    "mtu true": ({"mtu": True}, "mtu"),
    "ipam": ({"ipam": "ocicat-ipam"}, "ipam"),
    "pools": ({"ipam": {"type": "ocicat-ipam", "ipv4_pools": "10.0.0.0/8"}}, "ipv4_pools"),
    "no such pool": (
        {"ipam": {"type": "ocicat-ipam", "ipv4_pools": ["10.9.0.0/16"]}},
        "10.9.0.0/16",
    ),
    "runtimeConfig": ({"runtimeConfig": []}, "runtimeConfig"),
    "ips": ({"runtimeConfig": {"ips": ["nonsense"]}}, "nonsense"),
    "ips a string": ({"runtimeConfig": {"ips": "10.0.0.1"}}, "ips"),
    "prevResult": ({"prevResult": "text"}, "prevResult"),
    "interfaces": ({"prevResult": {"cniVersion": "1.0.0", "interfaces": "x"}}, "interfaces"),
}


@rule("I9", "A4")
@pytest.mark.parametrize("what", WRONG)
def test_a_value_that_cannot_be_is_named(node, pod, before, what):
    conf, word = WRONG[what]

    node.call("ADD", pod, conf=conf).assert_refused(7, word)

    assert node.snapshot() == before


@rule("I10", "A4")
def test_a_foreign_ipam_plugin_is_not_served(node, pod, before):
    conf = {"ipam": {"type": "host-local", "subnet": "10.1.0.0/24"}}

    node.call("ADD", pod, conf=conf).assert_refused(2, "ipam.type", "host-local")

    assert node.snapshot() == before
