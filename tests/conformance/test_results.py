"""What is printed: results in the form of each version, compared with the kernel, and errors."""

import json

import pytest

from tests.conformance.rules import rule
from tests.conformance.versions import FIRST_FORM, VERSIONS, WITH_FAMILY, keys_of

FULL_FORM = [version for version in VERSIONS if version not in FIRST_FORM]


@pytest.fixture(params=["IPv4", "dual stack"])
def families(request, node):
    """What to change in the configuration to get one family, or both."""
    return node.dual_stack if request.param == "dual stack" else {}


@rule("R1", "R6", "R8")
@pytest.mark.parametrize("version", FIRST_FORM)
def test_the_first_form_has_an_address_per_family(node, pod, families, version):
    result = node.added(pod, conf={**families, "cniVersion": version})

    keys = keys_of(version)
    assert result.keys() <= keys[""]
    assert result["cniVersion"] == version
    parts = [result[key] for key in ("ip4", "ip6") if key in result]
    assert all(part.keys() <= keys["ip"] for part in parts)
    assert [part["ip"].split("/")[0] for part in parts] == node.addresses_in(pod)
    assert len(parts) == (2 if families else 1)


@rule("R1", "R6", "R8")
@pytest.mark.parametrize("version", FULL_FORM)
def test_every_part_has_the_keys_of_its_version(node, pod, families, version):
    result = node.added(pod, conf={**families, "cniVersion": version})

    keys = keys_of(version)
    assert result.keys() <= keys[""]
    assert result["cniVersion"] == version
    for part in ("interfaces", "ips", "routes"):
        assert all(item.keys() <= keys[part] for item in result.get(part, ()))
    listed = [ip["address"].split("/")[0] for ip in result["ips"]]
    assert listed == node.addresses_in(pod)
    expected = [{"version": "6" if ":" in a else "4"} for a in listed]
    said = [{k: v for k, v in ip.items() if k == "version"} for ip in result["ips"]]
    assert said == (expected if version in WITH_FAMILY else [{} for _ in listed])


@rule("R2", "R4", "R5")
@pytest.mark.parametrize("version", FULL_FORM)
def test_the_host_s_interface_comes_first_and_the_container_s_second(node, pod, version):
    result = node.added(pod, conf={"cniVersion": version})

    host, inside = result["interfaces"]
    assert host["name"] == node.host_end(pod)
    assert not host.get("sandbox")
    assert host["mac"] == node.links()[host["name"]]["address"]
    assert (inside["name"], inside["sandbox"]) == (pod.ifname, pod.netns)
    assert inside["mac"] == node.links(pod)[pod.ifname]["address"]


@rule("R3")
@pytest.mark.parametrize("version", FULL_FORM)
def test_every_address_points_at_the_container_s_interface(node, pod, families, version):
    result = node.added(pod, conf={**families, "cniVersion": version})

    assert {ip["interface"] for ip in result["ips"]} == {1}


@rule("R6")
def test_prefixes_are_those_of_the_kernel_s_addresses(node, pod, families):
    result = node.added(pod, conf=families)

    (link,) = json.loads(node.ip("-j", "addr", "show", pod.ifname, pod=pod))
    there = {f"{info['local']}/{info['prefixlen']}" for info in link["addr_info"]}
    assert {ip["address"] for ip in result["ips"]} <= there


@rule("R1")
def test_what_routes_the_result_lists_the_container_has(node, pod, families):
    result = node.added(pod, conf=families)

    for route in result.get("routes", ()):
        family = "-6" if ":" in route["dst"] else "-4"
        assert node.ip(family, "route", "show", route["dst"], pod=pod), route


DNS = {
    "nameservers": ["10.96.0.10", "fd00::a"],
    "domain": "cluster.local",
    "search": ["default.svc.cluster.local", "svc.cluster.local"],
    "options": ["ndots:5"],
}


@rule("R7")
@pytest.mark.parametrize("version", VERSIONS)
def test_dns_settings_of_the_configuration_reach_the_result(node, pod, version):
    result = node.added(pod, conf={"cniVersion": version, "dns": DNS})

    assert result["dns"] == DNS


@rule("R7")
def test_without_dns_settings_the_result_has_none(node, pod):
    assert not node.added(pod).get("dns")


# ---- errors ----------------------------------------------------------------------------------

MISTAKES = {
    "no container": {"environment": {"CNI_CONTAINERID": None}},
    "bad container": {"environment": {"CNI_CONTAINERID": "a/b"}},
    "no JSON": {"stdin": "{"},
    "no name": {"conf": {"name": None}},
    "version": {"conf": {"cniVersion": "9.9.9"}},
    "netns": {"environment": {"CNI_NETNS": "/nowhere"}},
}


@rule("R8")
@pytest.mark.parametrize("what", MISTAKES)
def test_an_error_is_one_document_and_nothing_else(node, pod, before, what):
    outcome = node.call("ADD", pod, **MISTAKES[what])

    assert outcome.status != 0
    assert outcome.document["code"] > 0
    assert outcome.document["msg"]
    assert node.snapshot() == before


@rule("R9")
@pytest.mark.parametrize("what", MISTAKES)
def test_an_error_says_its_version(node, pod, before, what):
    outcome = node.call("ADD", pod, **MISTAKES[what])

    assert outcome.document["cniVersion"] in VERSIONS
    assert node.snapshot() == before


@rule("R9")
@pytest.mark.parametrize("version", VERSIONS)
def test_an_error_is_of_the_configuration_s_version(node, pod, before, version):
    conf = {"cniVersion": version}

    outcome = node.call("ADD", pod.but(netns="/nowhere"), conf=conf)

    assert outcome.document["cniVersion"] == version
    assert node.snapshot() == before


@rule("R10")
def test_what_succeeds_without_a_result_prints_nothing_at_all(node, pod):
    result = node.added(pod)

    said = [node.checked(pod, result), node.call("DEL", pod)]

    assert [(outcome.status, outcome.stdout, outcome.stderr) for outcome in said] == [
        (0, "", "")
    ] * 2


# ---- the exact documents of ours -------------------------------------------------------------

HOST_MAC = "ee:ee:ee:ee:ee:ee"
NEXT_HOPS = {"4": "169.254.1.1", "6": "fe80::ecee:eeff:feee:eeee"}
DEFAULT_ROUTES = {"4": "0.0.0.0/0", "6": "::/0"}


def expected(node, pod, version):
    """What ADD prints for a container of both families, from what the kernel has."""
    addresses = dict(zip("46", node.addresses_in(pod), strict=True))
    lengths = {"4": 32, "6": 128}
    routes = {f: {"dst": DEFAULT_ROUTES[f], "gw": NEXT_HOPS[f]} for f in addresses}
    if version in FIRST_FORM:
        parts = {
            f"ip{f}": {"ip": f"{a}/{lengths[f]}", "gateway": NEXT_HOPS[f], "routes": [routes[f]]}
            for f, a in addresses.items()
        }
        return {"cniVersion": version, **parts, "dns": {}}
    mtu = {"mtu": 1500} if version == "1.1.0" else {}
    mac = node.links(pod)[pod.ifname]["address"]
    ips = [
        {"address": f"{a}/{lengths[f]}", "gateway": NEXT_HOPS[f], "interface": 1}
        | ({"version": f} if version in WITH_FAMILY else {})
        for f, a in addresses.items()
    ]
    return {
        "cniVersion": version,
        "interfaces": [
            {"name": node.host_end(pod), "mac": HOST_MAC, **mtu},
            {"name": pod.ifname, "mac": mac, "sandbox": pod.netns, **mtu},
        ],
        "ips": ips,
        "routes": list(routes.values()),
        "dns": {},
    }


@rule("R11")
@pytest.mark.parametrize("version", VERSIONS)
def test_the_whole_result_of_an_add(node, pod, version):
    result = node.added(pod, conf={**node.dual_stack, "cniVersion": version, "mtu": 1500})

    assert result == expected(node, pod, version)


SPOKEN = "['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0']"
WHOLE_ERRORS = {
    "no container": (
        {"environment": {"CNI_CONTAINERID": None, "CNI_IFNAME": ""}},
        {"code": 4, "msg": "required env variables [CNI_CONTAINERID,CNI_IFNAME] missing"},
    ),
    "bad container": (
        {"environment": {"CNI_CONTAINERID": "a/b"}},
        {
            "code": 4,
            "msg": "CNI_CONTAINERID: invalid characters in containerID",
            "details": "a/b",
        },
    ),
    "bad interface": (
        {"environment": {"CNI_IFNAME": "a/b"}},
        {
            "code": 4,
            "msg": "CNI_IFNAME: interface name contains / or : or % or whitespace characters",
            "details": "a/b",
        },
    ),
    "no JSON object": (
        {"stdin": "[]"},
        {
            "cniVersion": "1.1.0",
            "code": 6,
            "msg": "network configuration on stdin: is not a JSON object",
        },
    ),
    "no name": ({"conf": {"name": None}}, {"code": 7, "msg": "missing network name"}),
    "bad name": (
        {"conf": {"name": "a/b"}},
        {"code": 7, "msg": "invalid characters found in network name", "details": "a/b"},
    ),
    "version": (
        {"conf": {"cniVersion": "9.9.9"}},
        {
            "cniVersion": "1.1.0",
            "code": 1,
            "msg": "incompatible CNI versions",
            "details": f'config is "9.9.9", plugin supports {SPOKEN}',
        },
    ),
    "netns": (
        {"environment": {"CNI_NETNS": "/nowhere"}},
        {"code": 4, "msg": "CNI_NETNS /nowhere: cannot be opened: No such file or directory"},
    ),
    "mtu": (
        {"conf": {"mtu": "big"}},
        {"code": 7, "msg": "network k8s-pod-network: mtu: 'big' is not a number"},
    ),
    "ipam": (
        {"conf": {"ipam": {"type": "x"}}},
        {"code": 2, "msg": "ipam.type 'x': is not served; use calico-ipam or ocicat-ipam"},
    ),
}


@rule("R11")
@pytest.mark.parametrize("what", WHOLE_ERRORS)
def test_the_whole_error_of_an_add(node, pod, before, what):
    how, document = WHOLE_ERRORS[what]

    outcome = node.call("ADD", pod, **how)

    assert (outcome.status, outcome.stderr) == (1, "")
    assert outcome.document == {"cniVersion": "1.0.0", **document}
    assert node.snapshot() == before


@rule("R11")
def test_the_whole_error_of_a_second_add(node, pod):
    node.added(pod)

    assert node.call("ADD", pod).document == {
        "cniVersion": "1.0.0",
        "code": 7,
        "msg": f"container {pod.id}: interface eth0 is attached already; "
        "DEL comes before another ADD",
    }


@rule("R11")
def test_the_whole_error_of_a_check_without_a_result(node, pod):
    assert node.call("CHECK", pod).document == {
        "cniVersion": "1.0.0",
        "code": 7,
        "msg": "prevResult: is missing; CHECK needs the result of ADD",
    }


@rule("R11", "V3")
def test_the_whole_answer_to_version(node):
    outcome = node.call("VERSION", stdin="")

    assert outcome.document == {"cniVersion": "1.1.0", "supportedVersions": VERSIONS}
