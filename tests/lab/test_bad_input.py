"""Mistakes in a call: the error on stdout, exit status 1, and nothing left behind."""

import json
import signal
import subprocess

import pytest

from ocicatctl.lab import daemons, etcd, show, system
from tests.lab.call import CONF, Call, held, traces


@pytest.fixture
def container(lab):
    """A container's namespace that is not on the network."""
    name = lab.spec.pod_namespace("bad")
    system.add_namespace(name)
    yield name
    system.remove_namespaces([name])


@pytest.fixture
def call(node, container):
    return Call(node, netns=str(system.NETNS / container))


def refused(call, code, *words):
    """Make the call; it must be refused with *code* and name *words*."""
    answer = call.run()

    assert answer.status == 1
    document = answer.document
    assert document["code"] == code
    text = f"{document['msg']} {document.get('details', '')}"
    assert all(word in text for word in words), text
    assert document["cniVersion"]
    return document


MALFORMED = ["", "{", "[]", '"text"', "{} trailing", "\ufeff{}", '{"name": }']


@pytest.mark.parametrize("stdin", MALFORMED)
def test_stdin_that_is_no_json_object_is_refused(lab, node, call, container, stdin):
    before = traces(lab, node, container)
    call.conf = stdin

    refused(call, 6, "stdin")

    assert traces(lab, node, container) == before


@pytest.mark.parametrize("command", ["ADD", "CHECK"])
@pytest.mark.parametrize("variable", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"])
def test_a_missing_variable_is_named(call, command, variable):
    call.command = command
    call.environment = {variable: None}

    refused(call, 4, variable)


def test_all_missing_variables_are_named_at_once(call):
    call.environment = {"CNI_CONTAINERID": None, "CNI_NETNS": "", "CNI_IFNAME": None}

    refused(call, 4, "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME")


def test_del_needs_no_namespace_but_who_it_is_about(call):
    call.command = "DEL"
    call.environment = {"CNI_NETNS": None, "CNI_CONTAINERID": None}

    refused(call, 4, "CNI_CONTAINERID")


@pytest.mark.parametrize("container_id", ["../etc", "a/b", "-a", ".a", "a b", "a\n", "é", "a;b"])
@pytest.mark.parametrize("command", ["ADD", "DEL"])
def test_an_unsafe_container_id_is_refused(lab, node, call, container, command, container_id):
    before = traces(lab, node, container)
    call.command, call.container_id = command, container_id

    document = refused(call, 4, "CNI_CONTAINERID")

    assert document["details"] == container_id
    assert traces(lab, node, container) == before


@pytest.mark.parametrize(
    "ifname", [".", "..", "a/b", "a:b", "a b", "sixteen-letters-", "e%d", "all", "default"]
)
def test_an_unsafe_interface_name_is_refused(lab, node, call, container, ifname):
    before = traces(lab, node, container)
    call.ifname = ifname

    refused(call, 4, "CNI_IFNAME")

    assert traces(lab, node, container) == before


@pytest.mark.parametrize("version", ["0.9.0", "1.0", "1.0.1", "v1.0.0", "2.0.0", "junk"])
def test_an_unknown_version_is_refused(call, version):
    call.conf = {**CONF, "cniVersion": version}

    refused(call, 1, "incompatible CNI versions", "0.3.1")


def test_check_is_refused_before_the_version_that_has_it(call):
    call.command, call.conf = "CHECK", {**CONF, "cniVersion": "0.3.1"}

    refused(call, 1, "does not allow CHECK")


def test_an_unknown_command_is_refused(call):
    call.command = "EXPLODE"

    refused(call, 4, "EXPLODE")


@pytest.mark.parametrize("name", ["", None, "a/b", "-a"])
def test_a_network_without_a_right_name_is_refused(call, name):
    call.conf = {**CONF, "name": name}

    refused(call, 7, "network name")


def test_all_mistakes_in_the_configuration_are_named(call):
    call.conf = {
        **CONF,
        "mtu": "big",
        "ipam": {"type": "calico-ipam", "ipv4_pools": ["10.0.0.1/8", "10.300.0.0/16"]},
        "policy": "k8s",
    }

    refused(call, 7, "mtu", "10.0.0.1/8", "10.300.0.0/16", "policy")


def test_a_foreign_ipam_plugin_is_not_served(call):
    call.conf = {**CONF, "ipam": {"type": "host-local", "subnet": "10.1.0.0/24"}}

    refused(call, 2, "ipam.type", "host-local", "calico-ipam")


def test_a_pool_that_does_not_exist_is_named(lab, node, call, container):
    before = traces(lab, node, container)
    call.conf = {**CONF, "ipam": {"type": "calico-ipam", "ipv4_pools": ["10.99.0.0/16"]}}

    refused(call, 7, "10.99.0.0/16", "default-ipv4-ippool")

    assert traces(lab, node, container) == before


@pytest.mark.parametrize("command", ["ADD", "CHECK"])
def test_a_namespace_that_is_none_is_refused(lab, node, call, container, tmp_path, command):
    plain = tmp_path / "file"
    plain.touch()
    before = traces(lab, node, container)
    call.command = command

    for path in (plain, tmp_path, "/proc/self/ns/mnt", "/dev/null", "/nowhere/netns"):
        call.netns = str(path)
        refused(call, 4, "CNI_NETNS", str(path))

    assert traces(lab, node, container) == before


def test_the_nodes_own_namespace_is_refused(lab, node, call, container):
    before = traces(lab, node, container)
    call.netns = str(system.NETNS / node.namespace)

    refused(call, 8, "own namespace")

    assert traces(lab, node, container) == before


def test_an_interface_that_exists_is_an_error_and_stays(lab, node, call, container):
    kind = ("type", "veth", "peer", "name", "other")
    system.run("ip", "link", "add", "eth0", *kind, namespace=container)
    before = traces(lab, node, container)

    refused(call, 7, "CNI_IFNAME", "eth0")

    assert traces(lab, node, container) == before


def test_a_second_add_is_an_error_and_the_first_one_stays(lab, node, call, container):
    first = call.run()
    before = traces(lab, node, container)

    refused(call, 7, "attached already")

    assert first.status == 0
    assert traces(lab, node, container) == before
    call.command = "DEL"
    assert call.run().status == 0


def test_a_link_of_somebody_else_is_an_error_and_stays(lab, node, call, container):
    kind = ("type", "veth", "peer", "name", "other")
    system.run("ip", "link", "add", "calic0ffee", *kind, namespace=node.namespace)
    before = traces(lab, node, container)

    try:
        refused(call, 7, "calic0ffee", "not made by us")

        assert traces(lab, node, container) == before
    finally:
        system.run("ip", "link", "del", "calic0ffee", namespace=node.namespace)


def test_without_ipamd_an_add_says_try_again_and_leaves_nothing(lab, node, call, container):
    daemons.kill(node, "ipamd")
    before = traces(lab, node, container)

    refused(call, 11, "ipamd")

    assert traces(lab, node, container) == before


def test_without_etcd_an_add_says_try_again_and_leaves_nothing(lab, node, call, container):
    before = traces(lab, node, container)
    etcd.kill(lab.spec)

    try:
        refused(call, 11, "etcd")
    finally:
        etcd.start(lab.spec)

    def is_as_before():
        after = traces(lab, node, container)
        return all(after[what] == before[what] for what in before)

    # The release of what might have been allocated is delivered when etcd is back.
    system.wait_until(is_as_before, "state as before the call", 20)


def test_a_full_pool_says_so_and_leaves_nothing(lab, node, call, container):
    for number in (1, 2):
        tiny = {
            "kind": "IPPool",
            "apiVersion": "projectcalico.org/v3",
            "metadata": {"name": f"tiny-{number}"},
            "spec": {"cidr": f"10.77.{number}.0/32", "blockSize": 32, "nodeSelector": "all()"},
        }
        key = f"/calico/resources/v3/projectcalico.org/ippools/tiny-{number}"
        etcd.etcdctl(lab.spec, "put", key, json.dumps(tiny))
    pools = {"type": "calico-ipam", "ipv4_pools": ["tiny-1", "10.77.2.0/32"]}
    conf = {**CONF, "ipam": pools}
    namespaces = [lab.spec.pod_namespace(f"full-{i}") for i in (1, 2)]
    calls = []
    try:
        for i, namespace in enumerate(namespaces):
            system.add_namespace(namespace)
            netns = str(system.NETNS / namespace)
            calls.append(Call(node, netns=netns, container_id=f"full{i}", conf=conf))
            assert calls[-1].run().status == 0
        before = traces(lab, node, container)
        call.conf = conf

        refused(call, 101, "no addresses: ", "pool tiny-1 (10.77.1.0/32)", "add a pool")

        assert traces(lab, node, container) == before
    finally:
        for done in calls:
            done.command = "DEL"
            assert done.run().status == 0
        system.remove_namespaces(namespaces)
        etcd.etcdctl(
            lab.spec, "del", "--prefix", "/calico/resources/v3/projectcalico.org/ippools/tiny-"
        )
        etcd.etcdctl(
            lab.spec, "del", "--prefix", f"/calico/ipam/v2/host/{node.name}/ipv4/block/10.77."
        )
        etcd.etcdctl(lab.spec, "del", "--prefix", "/calico/ipam/v2/assignment/ipv4/block/10.77.")


# ---- DEL takes what comes -------------------------------------------------------------------


def test_del_succeeds_whatever_the_namespace_is(lab, node, call, container, tmp_path):
    plain = tmp_path / "file"
    plain.touch()
    for netns in ("", None, str(plain), "/nowhere/netns", str(system.NETNS / node.namespace)):
        call.command = "ADD"
        call.environment = {}
        assert call.run().status == 0
        call.command = "DEL"
        call.environment = {"CNI_NETNS": netns}

        answer = call.run()

        assert (answer.status, answer.stdout) == (0, "")
        links = system.run("ip", "-o", "link", namespace=node.namespace).stdout
        assert "cali" not in links
        assert system.run("ip", "-o", "link", namespace=container).stdout.count("\n") == 1


def test_del_succeeds_for_what_never_was_and_twice(lab, node, call, container):
    before = traces(lab, node, container)
    call.command = "DEL"

    assert [call.run().status for _ in range(3)] == [0, 0, 0]

    assert traces(lab, node, container) == before


def test_del_leaves_the_interface_of_another_in_a_recycled_namespace(lab, node, call, container):
    assert call.run().status == 0
    before = traces(lab, node, container)
    stale = Call(node, command="DEL", netns=call.netns, container_id="older")

    assert stale.run().status == 0

    assert traces(lab, node, container) == before
    call.command = "DEL"
    assert call.run().status == 0


# ---- the executable itself ------------------------------------------------------------------


def test_version_answers_without_stdin(node):
    for executable in ("ocicat", "calico"):
        done = subprocess.run(
            [node.bin / executable],
            env={"CNI_COMMAND": "VERSION"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )

        assert json.loads(done.stdout) == {
            "cniVersion": "1.1.0",
            "supportedVersions": ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
        }


def test_a_person_who_runs_it_learns_what_it_is(node):
    done = subprocess.run([node.bin / "ocicat"], env={}, capture_output=True, check=True, text=True)

    assert done.stdout == ""
    assert "CNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0" in done.stderr


@pytest.mark.parametrize("is_server_up", [True, False], ids=["server", "in process"])
def test_a_hostile_environment_does_not_hinder_it(lab, node, container, is_server_up):
    """Closed stderr, an environment of nothing but CNI_ names, a deleted working directory."""
    if not is_server_up:
        daemons.kill(node, "cni-server")
    script = (
        "import os, sys, tempfile\n"
        "os.chdir(d := tempfile.mkdtemp()); os.rmdir(d); os.umask(0o077); os.close(2)\n"
        "os.execve(sys.argv[1], sys.argv[1:2], dict(a.split('=', 1) for a in sys.argv[2:]))\n"
    )
    names = {"CNI_CONTAINERID": "c0ffee", "CNI_IFNAME": "eth0"}
    names["CNI_NETNS"] = str(system.NETNS / container)
    for command in ("ADD", "DEL"):
        arguments = [f"{k}={v}" for k, v in {**names, "CNI_COMMAND": command}.items()]
        inside = ["nsenter", f"--net={system.NETNS / node.namespace}", "--", "python3", "-c"]
        done = subprocess.run(
            [*inside, script, node.bin / "ocicat", *arguments],
            input=json.dumps(CONF),
            capture_output=True,
            text=True,
            check=True,
        )
        if command == "ADD":
            assert json.loads(done.stdout)["ips"]


def test_a_result_that_nobody_receives_is_taken_back(lab, node, call, container):
    before = traces(lab, node, container)
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c0ffee",
        "CNI_NETNS": call.netns,
        "CNI_IFNAME": "eth0",
    }
    process = subprocess.Popen(
        ["nsenter", f"--net={system.NETNS / node.namespace}", "--", node.bin / "ocicat"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()  # the runtime is gone
    process.stdin.write(json.dumps(CONF).encode())
    process.stdin.close()
    process.wait(timeout=20)
    process.stderr.close()

    assert process.returncode != 0

    def is_as_before():
        after = traces(lab, node, container)
        links = after[container, "link"] == before[container, "link"]
        return links and after[node.namespace, "link"] == before[node.namespace, "link"]

    system.wait_until(is_as_before, "links as before the call", 10)
    assert "c0ffee" not in json.dumps(held(lab))


def test_an_add_whose_launcher_is_killed_is_taken_back(lab, node, call, container):

    daemons.kill(node, "ipamd", signal.SIGSTOP)
    process = subprocess.Popen(
        ["nsenter", f"--net={system.NETNS / node.namespace}", "--", node.bin / "ocicat"],
        env={
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": "c0ffee",
            "CNI_NETNS": call.netns,
            "CNI_IFNAME": "eth0",
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    process.stdin.write(json.dumps(CONF).encode())
    process.stdin.close()

    def is_link_there():
        return "cali" in system.run("ip", "-o", "link", namespace=node.namespace).stdout

    try:
        system.wait_until(is_link_there, "veth pair", 5)
        process.kill()
        process.wait()
    finally:
        daemons.kill(node, "ipamd", signal.SIGCONT)

    system.wait_until(lambda: not show.leftovers(lab).found, "the ADD being taken back", 20)
