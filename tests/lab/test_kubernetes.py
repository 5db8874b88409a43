"""A node whose CNI server may ask the Kubernetes API: what pods are annotated with, end to end."""

import base64
import copy
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from cni_plugin import netns
from cni_plugin.pod_facts import PREFIX
from ocicatctl.lab import daemons, system
from ocicatctl.lab.lab import Lab
from ocicatctl.lab.pidfile import PidFile
from ocicatctl.lab.spec import NodeSpec
from tests.etcd_server import make_certificates
from tests.kube_server import NAMESPACE, NAMESPACES, POD, PODS, Api, serving
from tests.lab.call import CONF, Call, held

METRICS = "127.0.0.1:9097"
POOLS = """
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: red}
spec: {cidr: 10.240.0.0/24, blockSize: 28, nodeSelector: "!all()"}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: six}
spec:
  cidr: "fd00:240::/120"
  blockSize: 122
  allowedUses: [Workload]
  namespaceSelector: team == 'blue'
"""
ENDPOINT = "/calico/resources/v3/projectcalico.org/workloadendpoints/shop/node--1-k8s-web--0-eth0"


class Inside:
    """Whatever is done within it happens in a node's network namespace."""

    def __init__(self, node: NodeSpec) -> None:
        self._path = system.NETNS / node.namespace

    def __call__(self, action: Any) -> Any:
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with netns.entered(fd):
                return action()
        finally:
            os.close(fd)


def kubeconfig(port: int, authority: bytes, token: Path) -> str:
    server = f"https://127.0.0.1:{port}"
    data = base64.b64encode(authority).decode()
    return yaml.safe_dump(
        {
            "clusters": [
                {"name": "a", "cluster": {"server": server, "certificate-authority-data": data}}
            ],
            "users": [{"name": "b", "user": {"tokenFile": str(token)}}],
            "contexts": [{"name": "c", "context": {"cluster": "a", "user": "b"}}],
            "current-context": "c",
        }
    )


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    lab = Lab(f"k{os.getpid()}")
    try:
        lab.up(1)
        yield lab
    finally:
        lab.down()


def start_server(node: NodeSpec, config: Path) -> None:
    """Start the node's CNI server, which is told where the API is."""
    pid = system.start(
        *(sys.executable, "-m", "cni_plugin.server"),
        namespace=node.namespace,
        environment={
            **node.environment,
            "KUBECONFIG": str(config),
            "OCICAT_CNI_METRICS": METRICS,
            "OCICAT_ADD_TIMEOUT_S": "3",
        },
        log=node.directory / "cni-server.log",
    )
    PidFile(node.directory, "cni-server").write(pid)
    daemons.start(node, "cni-server")


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("kube") / "kubeconfig"


@pytest.fixture(scope="module")
def cluster(lab, config) -> Iterator[Api]:
    """The API, reached from within the node; its CNI server has been told where it is."""
    directory, api, (node,) = config.parent, Api(), lab.nodes
    certificates = make_certificates(directory)
    (directory / "token").write_text("secret")
    with ExitStack() as stack:
        port = Inside(node)(lambda: stack.enter_context(serving(api, certificates)))
        config.write_text(kubeconfig(port, certificates.ca.read_bytes(), directory / "token"))
        daemons.kill(node, "cni-server")
        start_server(node, config)
        settings = {"ETCD_ENDPOINTS": lab.spec.etcd_endpoint}
        command = (sys.executable, "-m", "ocicatctl", "apply", "-f", "-")
        system.run(*command, namespace=node.namespace, stdin=POOLS, environment=settings)
        yield api


@pytest.fixture
def api(cluster) -> Api:
    """The API as it is when nothing is wrong."""
    cluster.__init__()
    return cluster


@pytest.fixture
def call(lab, api, tmp_path) -> Iterator[Call]:
    """The ADD of the pod that the API knows."""
    (node,) = lab.nodes
    namespace = lab.spec.pod_namespace("web-0")
    system.add_namespace(namespace)
    call = Call(
        node,
        netns=str(system.NETNS / namespace),
        conf={**CONF, "log_file_path": str(tmp_path / "cni/cni.log")},
        environment={"CNI_ARGS": "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;IgnoreUnknown=1"},
    )
    yield call
    api.__init__()
    call.command = "DEL"
    assert call.run().status == 0
    system.remove_namespaces([namespace])
    assert ENDPOINT not in held(lab)


def annotate(api: Api, **annotations: Any) -> None:
    pod = copy.deepcopy(POD)
    pod["metadata"]["annotations"] = {
        PREFIX + name: value if isinstance(value, str) else json.dumps(value)
        for name, value in annotations.items()
    }
    api.documents[PODS] = pod


def addresses(answer) -> list[str]:
    assert answer.status == 0, answer.stdout
    return [ip["address"] for ip in answer.document["ips"]]


# ---- what a pod asks for -----------------------------------------------------------------------


def test_the_endpoint_tells_what_kubernetes_says_of_the_pod(lab, call):
    call.run()

    endpoint = held(lab)[ENDPOINT]
    assert endpoint["metadata"]["labels"] == {
        "app": "web",
        "statefulset.kubernetes.io/pod-name": "web-0",
        "projectcalico.org/namespace": "shop",
        "projectcalico.org/orchestrator": "k8s",
        "projectcalico.org/serviceaccount": "shopkeeper",
    }
    assert endpoint["metadata"]["generateName"] == "web-"
    assert endpoint["spec"]["serviceAccountName"] == "shopkeeper"
    assert endpoint["spec"]["profiles"] == ["kns.shop", "ksa.shop.shopkeeper"]
    assert [port["port"] for port in endpoint["spec"]["ports"]] == [8080, 53]


def test_a_pod_gets_an_address_of_the_pool_that_it_names(api, call):
    annotate(api, ipv4pools=["red"])

    (address,) = addresses(call.run())

    assert address.startswith("10.240.0.")


def test_a_pod_gets_the_address_and_the_mac_that_it_names(api, call):
    annotate(api, ipAddrs=["10.240.0.77"], hwAddr="02:00:5E:10:00:01")

    answer = call.run()

    assert addresses(answer) == ["10.240.0.77/32"]
    assert answer.document["interfaces"][1]["mac"] == "02:00:5e:10:00:01"
    inside = system.run("ip", "-o", "addr", namespace=Path(call.netns).name).stdout
    assert "10.240.0.77/32" in inside
    link = system.run("ip", "-o", "link", "show", "eth0", namespace=Path(call.netns).name).stdout
    assert "02:00:5e:10:00:01" in link


@pytest.mark.parametrize("families", [["IPv4", "IPv6"], ["IPv6"]])
def test_a_pod_gets_the_families_that_it_names_and_check_agrees(api, call, families):
    annotate(api, ipFamilies=families)

    answer = call.run()

    assert [":" in address for address in addresses(answer)] == [f == "IPv6" for f in families]
    call.command = "CHECK"
    call.conf = {**call.conf, "prevResult": answer.document}
    checked = call.run()
    assert (checked.status, checked.stdout) == (0, "")


def test_a_pool_may_be_for_certain_namespaces(api, call):
    annotate(api, ipFamilies=["IPv6"])
    api.documents[NAMESPACES] = {**NAMESPACE, "metadata": {"name": "shop"}}
    refused = call.run()
    api.documents[NAMESPACES] = NAMESPACE

    (address,) = addresses(call.run())

    assert refused.document["code"] == 101
    assert "six" in refused.document["msg"]
    assert address.startswith("fd00:240::")


def test_floating_ips_are_recorded_if_they_are_enabled(lab, api, call):
    annotate(api, floatingIPs=["172.18.9.9"])
    refused = call.run()
    call.conf = {**call.conf, "feature_control": {"floating_ips": True}}

    (address,) = addresses(call.run())

    assert refused.document["code"] == 7
    assert "floatingIPs: is not enabled" in refused.document["msg"]
    nat = {"internalIP": address.removesuffix("/32"), "externalIP": "172.18.9.9"}
    assert held(lab)[ENDPOINT]["spec"]["ipNATs"] == [nat]


# ---- what goes wrong ---------------------------------------------------------------------------


def test_every_mistake_in_annotations_is_told_and_nothing_is_made(lab, api, call):
    annotate(api, ipv4pools="red", hwAddr="x")

    answer = call.run()

    assert answer.document["code"] == 7
    assert f"pod shop/web-0: {PREFIX}ipv4pools: " in answer.document["msg"]
    assert f"{PREFIX}hwAddr: " in answer.document["msg"]
    assert ENDPOINT not in held(lab)
    assert "cali" not in system.run("ip", "-o", "link", namespace=call.node.namespace).stdout


@pytest.mark.parametrize(
    ("trouble", "text"),
    [
        ({"status": 401}, "answers 401"),
        ({"status": 503}, "answers 503"),
        ({"documents": {}}, 'pods "web-0" not found'),
        ({"body": b"<html>"}, "is not a JSON object"),
        ({"closes": "middle"}, "breaks off in the middle"),
        ({"closes": "before"}, "closed connection without response"),
        ({"pause_s": 2.0}, "no answer within 1.0"),
    ],
)
def test_a_pod_that_cannot_be_read_is_tried_again_and_a_del_does_not_mind(api, call, trouble, text):
    for name, value in trouble.items():
        setattr(api, name, value)

    answer = call.run()
    call.command = "DEL"
    deleted = call.run()

    assert answer.document["code"] == 11
    assert re.match("pod shop/web-0: cannot be read: Kubernetes API https", answer.document["msg"])
    assert text in answer.document["msg"]
    assert (deleted.status, deleted.stdout) == (0, "")


def test_a_runtime_that_gives_up_while_the_api_is_slow_leaves_nothing(lab, api, call):
    api.pause_s = 0.1  # four of them are well within what an ADD waits
    log = Path(call.conf["log_file_path"])
    inside = f"--net={system.NETNS / call.node.namespace}"
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": call.container_id,
        "CNI_NETNS": call.netns,
        "CNI_IFNAME": call.ifname,
        **call.environment,
    }
    with subprocess.Popen(
        ["nsenter", inside, "--", call.node.bin / "ocicat"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    ) as launcher:
        launcher.stdin.write(json.dumps(call.conf).encode())
        launcher.stdin.close()
        system.wait_until(lambda: bool(api.asked), "the server asking about the pod", 10)
        launcher.kill()

    def is_told() -> bool:
        return log.exists() and "the runtime gave up" in log.read_text()

    system.wait_until(is_told, "the end of the call", 10)
    assert ENDPOINT not in held(lab)
    assert "cali" not in system.run("ip", "-o", "link", namespace=call.node.namespace).stdout


def test_who_is_no_pod_is_not_asked_about(api, call):
    call.environment = {"CNI_ARGS": "K8S_POD_NAME=web-0"}

    assert addresses(call.run())[0].startswith("10.233.")
    assert api.asked == []


def test_without_a_server_the_launcher_asks_the_same_cluster(api, call, config):
    annotate(api, ipAddrs=["10.240.0.78"])
    call.environment["KUBECONFIG"] = str(config)  # as ``install`` writes it into the launcher
    daemons.kill(call.node, "cni-server")
    try:
        answer = call.run()
        api.status = 401
        call.command = "DEL"
        deleted = call.run()
    finally:
        start_server(call.node, config)

    assert addresses(answer) == ["10.240.0.78/32"]
    assert (deleted.status, deleted.stdout) == (0, "")
    log = Path(call.conf["log_file_path"]).read_text()
    assert [verb for verb in ("ADD", "DEL") if f"skel {verb} container=c0ffee" in log] == [
        "ADD",
        "DEL",
    ]


# ---- what is told of it ------------------------------------------------------------------------


def test_the_calls_are_in_the_log_file_with_the_runtimes_trace(call):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    call.environment["TRACEPARENT"] = f"00-{trace}-00f067aa0ba902b7-01"
    call.conf["log_level"] = "debug"

    call.run()

    log = Path(call.conf["log_file_path"]).read_text().splitlines()
    steps = [re.search(r"step (\w+) took_ms=", line) for line in log]
    assert [m[1] for m in steps if m] == [
        "wait",
        "kubernetes",
        "veth",
        "prepare",
        "ipam",
        "addresses",
    ]
    assert re.search(r"INFO cni_plugin.skel ADD container=c0ffee .* took_ms=\d+ ok", log[-1])
    assert all(line.endswith(f" trace={trace}") for line in log)
    ipamd_log = call.node.directory / "ipamd.log"
    asked = re.compile(rf"allocate handle=\S+c0ffee .* took_ms=\d+ trace={trace}")
    system.wait_until(lambda: asked.search(ipamd_log.read_text()), "ipamd's line of it", 5)


def test_the_metrics_count_what_was_done(lab, api, call):
    def shown() -> dict[tuple[str, ...], float]:
        url = f"http://{METRICS}/metrics"
        text = Inside(call.node)(lambda: urllib.request.urlopen(url, timeout=10).read().decode())
        return {
            (s.name, *sorted(s.labels.values())): s.value
            for family in text_string_to_metric_families(text)
            for s in family.samples
            if s.name.startswith("ocicat_cni_")
        }

    before = shown()
    call.run()
    call.command = "DEL"
    call.run()
    call.command = "ADD"
    api.status = 401
    call.run()
    after = shown()

    counted = {name: value - before.get(name, 0) for name, value in after.items()}
    assert counted["ocicat_cni_calls_total", "ADD", "ok"] == 1
    assert counted["ocicat_cni_calls_total", "ADD", "unavailable"] == 1
    assert counted["ocicat_cni_calls_total", "DEL", "ok"] == 1
    for step, times in (("kubernetes", 2), ("veth", 2), ("prepare", 1), ("addresses", 1)):
        assert counted["ocicat_cni_step_duration_seconds_count", step] == times
    assert counted["ocicat_cni_deletion_links_count",] == 1
    assert counted["ocicat_cni_deletion_links_sum",] == 1
    assert after["ocicat_cni_spooled_releases",] == 0
