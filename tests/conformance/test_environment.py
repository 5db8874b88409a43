"""The environment of a call: what must be there, what is refused, what does not matter."""

import os
import tempfile

import pytest

from tests.conformance.plugin import all_with_one
from tests.conformance.rules import rule

REQUIRED = [
    (verb, variable)
    for verb, variables in {
        "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
        "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
        "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
    }.items()
    for variable in variables
]


@rule("E1")
@pytest.mark.parametrize("value", [None, ""], ids=["unset", "empty"])
@pytest.mark.parametrize(("verb", "variable"), REQUIRED)
def test_a_missing_variable_is_named(node, pod, before, verb, variable, value):
    outcome = node.call(verb, pod, environment={variable: value})

    outcome.assert_refused(4, variable)
    assert node.snapshot() == before


@rule("E2")
@pytest.mark.parametrize(
    ("verb", "missing"),
    [
        ("ADD", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME"),
        ("CHECK", "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME"),
        ("DEL", "CNI_CONTAINERID,CNI_IFNAME"),
    ],
)
def test_all_missing_variables_are_named_at_once(node, before, verb, missing):
    node.call(verb).assert_refused(4, f"required env variables [{missing}] missing")

    assert node.snapshot() == before


@rule("E3", "R10")
@pytest.mark.parametrize("netns", [None, ""], ids=["unset", "empty"])
def test_del_is_served_without_a_namespace(node, pod, netns):
    node.added(pod)
    node.remove_namespace(pod)

    outcome = node.call("DEL", pod, environment={"CNI_NETNS": netns})

    assert outcome.is_silent_success, outcome
    node.assert_as_before()


# ---- names -----------------------------------------------------------------------------------

BAD_IDS = ["../etc", "a/b", "-a", ".a", "_a", "..", "a b", "a\n", "a\tb", "é", "a;b", "a%b", "a:b"]


@rule("E4")
@pytest.mark.parametrize(("verb", "identity"), all_with_one("ADD", ["DEL", "CHECK"], BAD_IDS))
def test_an_unsafe_container_id_is_refused(node, pod, before, verb, identity):
    node.call(verb, pod.but(id=identity)).assert_refused(4, identity)

    assert node.snapshot() == before


@rule("E2")
def test_a_malformed_id_is_told_before_what_is_missing(node, pod, before):
    outcome = node.call("ADD", pod.but(id="a/b"), environment={"CNI_IFNAME": None})

    outcome.assert_refused(4, "invalid characters in containerID", "a/b")
    assert node.snapshot() == before


GOOD_IDS = ["a", "0", "default-t1", "cnitool-0123456789abcdef0123", "A.b_c-d.", "x" * 200]


@rule("E5")
@pytest.mark.parametrize("identity", GOOD_IDS, ids=lambda identity: identity[:20])
def test_any_right_container_id_is_served(node, pod, before, identity):
    called = pod.but(id=identity)

    result = node.added(called)

    assert pod.ifname in node.links(pod)
    assert node.checked(called, result).is_silent_success
    assert node.call("DEL", called).is_silent_success
    assert node.snapshot() == before


@rule("E5")
def test_a_container_id_longer_than_any_file_name_is_served_or_refused_whole(node, pod, before):
    called = pod.but(id="x" * 300)

    outcome = node.call("ADD", called)

    if outcome.status:
        outcome.assert_refused(None)
        assert node.snapshot() == before
    assert node.call("DEL", called).is_silent_success
    assert node.snapshot() == before


BAD_IFNAMES = [
    ".",
    "..",
    "a/b",
    "a:b",
    "a b",
    "a\tb",
    "a\nb",
    "a\u2003b",
    "sixteen-letters-",
    "é" * 8,
]


@rule("E6")
@pytest.mark.parametrize(("verb", "ifname"), all_with_one("ADD", ["DEL", "CHECK"], BAD_IFNAMES))
def test_an_interface_name_that_cannot_be_is_refused(node, pod, before, verb, ifname):
    node.call(verb, pod.but(ifname=ifname)).assert_refused(4)

    assert node.snapshot() == before


@rule("E7")
@pytest.mark.parametrize("ifname", ["e%d", "all", "default", "a\xa0b", "\udcff"])
def test_an_interface_name_that_would_become_another_is_refused(node, pod, before, ifname):
    node.call("ADD", pod.but(ifname=ifname)).assert_refused(4, "CNI_IFNAME")

    assert node.snapshot() == before


@rule("E8")
@pytest.mark.parametrize(
    "ifname", ["e", "fifteen-letters", "eth0.100", "net1", "éth0", "a..b", "-"]
)
def test_an_unusual_interface_name_is_served(node, pod, before, ifname):
    called = pod.but(ifname=ifname)

    result = node.added(called)

    assert ifname in node.links(pod)
    assert node.checked(called, result).is_silent_success
    assert node.call("DEL", called).is_silent_success
    assert node.snapshot() == before


# ---- CNI_ARGS, CNI_PATH ----------------------------------------------------------------------

K8S = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=1;K8S_POD_INFRA_CONTAINER_ID=2"
RUNTIMES_ARGS = [
    "",
    f"IgnoreUnknown=1;{K8S}",
    f"{K8S};IgnoreUnknown=1",
    f"K8S_POD_NAME=web-0;IgnoreUnknown=true;{K8S}",
    "IgnoreUnknown=1;K8S_POD_NAME=web",  # podman: no namespace
]


@rule("E9")
@pytest.mark.parametrize("args", RUNTIMES_ARGS)
def test_what_runtimes_send_as_cni_args_is_taken(node, pod, before, args):
    with_args = {"CNI_ARGS": args}

    result = node.added(pod, environment=with_args)

    checked = node.call("CHECK", pod, conf={"prevResult": result}, environment=with_args)
    assert checked.is_silent_success, checked
    assert node.call("DEL", pod, environment=with_args).is_silent_success
    assert node.snapshot() == before


ODD_ARGS = [
    "FOO=BAR",
    "IgnoreUnknown=1;",
    "A=b=c",
    ";;",
    "IgnoreUnknown=1;IgnoreUnknown=1",
    "novalue",
]


@rule("E10")
@pytest.mark.parametrize("args", ODD_ARGS)
def test_cni_args_of_an_odd_form_are_taken(node, pod, args):
    node.added(pod, environment={"CNI_ARGS": args})


@rule("D8")
@pytest.mark.parametrize("args", [*ODD_ARGS, "IP=nonsense", "MAC=nonsense", "\udcff=\udcfe"])
def test_del_succeeds_with_cni_args_of_any_form(node, pod, before, args):
    node.added(pod)

    outcome = node.call("DEL", pod, environment={"CNI_ARGS": args})

    assert outcome.is_silent_success, outcome
    assert node.snapshot() == before


@rule("E11")
def test_where_nothing_is_delegated_cni_path_is_not_needed(node, pod, before):
    without = {"CNI_PATH": None}

    result = node.added(pod, environment=without)

    checked = node.call("CHECK", pod, conf={"prevResult": result}, environment=without)
    assert checked.is_silent_success, checked
    assert node.call("DEL", pod, environment=without).is_silent_success
    assert node.snapshot() == before


# ---- CNI_NETNS -------------------------------------------------------------------------------


@pytest.fixture(params=["missing", "file", "directory", "fifo", "device", "mount namespace"])
def no_netns(request, tmp_path):
    """A path that is no network namespace."""
    path = tmp_path / "netns"
    match request.param:
        case "file":
            path.touch()
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "device":
            return "/dev/null"
        case "mount namespace":
            return "/proc/self/ns/mnt"
    return str(path)


@rule("E12", "A4")
@pytest.mark.parametrize("verb", ["ADD", "CHECK"])
def test_a_netns_that_is_none_is_refused(node, pod, before, verb, no_netns):
    result = {"cniVersion": "1.0.0", "interfaces": [], "ips": []}

    outcome = node.call(verb, pod.but(netns=no_netns), conf={"prevResult": result})

    outcome.assert_refused(None, our_code=4)
    assert node.snapshot() == before


@rule("D4")
def test_del_succeeds_for_a_netns_that_is_none(node, pod, before, no_netns):
    node.added(pod)

    outcome = node.call("DEL", pod.but(netns=no_netns))

    assert outcome.is_silent_success, outcome
    assert node.snapshot() == before


@rule("E13", "A4")
def test_the_nodes_own_namespace_is_refused(node, pod, before):
    outcome = node.call("ADD", pod.but(netns=str(node.plugin.namespace)))

    outcome.assert_refused(None, our_code=8)
    assert node.snapshot() == before


@rule("R2")
@pytest.mark.parametrize("form", ["/var/run/netns", "symlink", "two slashes"])
def test_the_netns_is_echoed_as_it_was_written(node, pod, tmp_path, form):
    (tmp_path / "link").symlink_to(pod.netns)
    path = {
        "/var/run/netns": f"/var/run/netns/{pod.namespace}",
        "symlink": str(tmp_path / "link"),
        "two slashes": pod.netns.replace("/netns/", "//netns/"),
    }[form]

    result = node.added(pod.but(netns=path))

    assert result["interfaces"][1]["sandbox"] == path
    assert node.checked(pod.but(netns=path), result).is_silent_success


@rule("R2")
def test_a_netns_below_proc_is_served(node, pod, before):
    sleeper = node.sleeper(pod)
    called = pod.but(netns=f"/proc/{sleeper.pid}/ns/net")

    result = node.added(called)

    assert result["interfaces"][1]["sandbox"] == called.netns
    assert node.call("DEL", called).is_silent_success
    assert node.snapshot() == before


# ---- what else is inherited ------------------------------------------------------------------


def in_a_deleted_directory():
    directory = tempfile.mkdtemp()
    os.chdir(directory)
    os.rmdir(directory)


HOSTILE = {
    "no PATH": ({"PATH": None}, None),
    "deleted cwd": ({}, in_a_deleted_directory),
    "umask 077": ({}, lambda: os.umask(0o077)),
    "no stderr": ({}, lambda: os.close(2)),
    "an environment that Python would obey": (
        {"PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere", "PYTHONSTARTUP": "/nowhere"},
        None,
    ),
    "a trace": ({"TRACEPARENT": f"00-{'a' * 32}-{'b' * 16}-01", "BAGGAGE": "a=b"}, None),
    "CRI-O's": ({"XDG_RUNTIME_DIR": "", "LANG": "", "HOME": ""}, None),
    "values that are no text": ({"FOO": "\udcff\udcfe"}, None),
}


@rule("E14")
@pytest.mark.parametrize("what", HOSTILE)
def test_what_else_is_inherited_does_not_matter(node, pod, before, what):
    environment, before_exec = HOSTILE[what]
    how = {"environment": environment, "before_exec": before_exec}

    node.added(pod, **how)

    assert node.call("DEL", pod, **how).is_silent_success
    assert node.snapshot() == before


# ---- CNI_COMMAND -----------------------------------------------------------------------------


@rule("E15")
@pytest.mark.parametrize("command", [None, ""], ids=["unset", "empty"])
def test_a_person_who_runs_it_learns_what_it_is(node, before, command):
    outcome = node.call("", environment={"CNI_COMMAND": command}, stdin="")

    assert outcome.is_silent_success, outcome
    assert "CNI protocol versions supported: " in outcome.stderr
    assert node.snapshot() == before


@rule("E16")
@pytest.mark.parametrize("command", ["EXPLODE", "add", " ADD", "ADD\n", "UPDATE", "\udcff"])
def test_an_unknown_command_is_refused_and_named(node, pod, before, command):
    outcome = node.call(command, pod)

    named = () if command == "\udcff" else (f"unknown CNI_COMMAND: {command}",)
    outcome.assert_refused(4, *named)
    assert node.snapshot() == before


@rule("E16")
def test_an_unknown_command_is_refused_even_without_a_container(node, before):
    node.call("EXPLODE").assert_refused(4, "unknown CNI_COMMAND: EXPLODE")

    assert node.snapshot() == before
