"""What is wrong and not CNI's: pools, etcd, the executable's names; the rest: tests/conformance."""

import json
import subprocess

import pytest

from ocicatctl.lab import daemons, etcd, system
from tests.lab.call import CONF, Call, traces


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


def test_a_pool_that_does_not_exist_is_named(lab, node, call, container):
    before = traces(lab, node, container)
    call.conf = {**CONF, "ipam": {"type": "calico-ipam", "ipv4_pools": ["10.99.0.0/16"]}}

    refused(call, 7, "10.99.0.0/16", "default-ipv4-ippool")

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


def test_a_hostile_environment_does_not_hinder_it_without_a_server(lab, node, container):
    """Closed stderr, an environment of nothing but CNI_ names, a deleted working directory."""
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
