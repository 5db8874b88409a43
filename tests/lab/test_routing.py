"""The route distributor of a whole node: NAT, health, metrics, what it complains of."""

import json
import os
import shutil
import signal
import sys
import urllib.error
import urllib.request

import pytest

from datastore import keys
from ocicatctl.lab import daemons, etcd, show, system
from ocicatctl.lab.spec import GATEWAY
from tests.netns.namespaces import inside

PORT = 9099
TABLE = ("nft", "list", "table", "inet", "ocicat")


@pytest.fixture
def measured(lab, node):
    """A node whose distributor serves metrics and health."""
    restart(node, OCICAT_ROUTES_METRICS=f"127.0.0.1:{PORT}")
    system.wait_until(lambda: get(node, "/readiness")[0] == 200, "readiness", 30)
    # Its predecessor's rules are there from the start: what is done to them before its first pass
    # is no damage to it.
    first = 'ocicat_routes_passes_total{outcome="ok",part="nat"}'
    system.wait_until(lambda: metric(node, first) > 0, "the first pass", 30)
    yield node
    restart(node)


def restart(node, **settings):
    daemons.kill(node, "route-distributor")
    daemons.start(node, "route-distributor", settings=settings)


def get(node, path):
    try:
        with (
            inside(node.namespace),
            urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=10) as answer,
        ):
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except urllib.error.URLError as error:
        return 0, str(error)


def metric(node, name):
    lines = get(node, "/metrics")[1].splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


def table(node):
    return system.run(*TABLE, namespace=node.namespace, check=False).stdout


def test_a_pod_reaches_the_world_under_its_nodes_address(lab, node):
    pod = lab.add_pod(node, "web")

    # The gateway has no route to any pod.
    system.run("ping", "-n", "-c1", "-W2", str(GATEWAY.ip), namespace=pod.namespace)


def test_what_somebody_does_to_our_rules_is_undone_and_counted(measured):
    before = table(measured)
    assert "masquerade" in before
    healed = metric(measured, 'ocicat_routes_healed_total{part="nat"}')

    system.run("nft", "flush", "ruleset", namespace=measured.namespace)

    system.wait_until(lambda: table(measured) == before, "the table", 10)
    system.wait_until(
        lambda: metric(measured, 'ocicat_routes_healed_total{part="nat"}') > healed, "count", 5
    )


def test_health_follows_bird(lab, measured):
    for peer in lab.nodes[1:]:
        lab.add_pod(peer, f"pod-{peer.number}")  # so it has a block
    assert get(measured, "/liveness") == (200, "ok\n")
    assert metric(measured, 'ocicat_routes_sessions{state="established"}') == 2
    prefixes = 'ocicat_routes_prefixes{direction="in",family="ipv4"}'
    system.wait_until(lambda: metric(measured, prefixes) >= 2, "routes of both peers", 30)

    daemons.kill(measured, "bird")

    status, why = get(measured, "/readiness")
    assert status == 503
    assert "is bird running" in why
    assert get(measured, "/liveness") == (200, "ok\n")  # to restart us would mend nothing
    assert metric(measured, "ocicat_routes_bird_up") == 0
    daemons.start(measured, "bird")
    system.wait_until(lambda: get(measured, "/readiness")[0] == 200, "readiness", 30)


def test_an_object_that_cannot_be_read_is_named_by_node_status_until_it_is_gone(lab, node):
    key = keys.node("broken")
    etcd.etcdctl(lab.spec, "put", key, "{")

    system.wait_until(lambda: "broken" in show.ctl(node, "node", "status"), "the problem", 10)
    text = show.ctl(node, "node", "status")
    etcd.etcdctl(lab.spec, "del", key)

    assert f"{key}: value is not JSON" in text.partition("Problems\n")[2]
    system.wait_until(
        lambda: "Problems" not in show.ctl(node, "node", "status"), "its disappearance", 10
    )
    status = json.loads((node.directory / "routes.json").read_text())
    assert status["problems"] == []
    assert status["parts"]["nat"]["ok"]
    assert status["parts"]["bird"]["ok"]


def test_a_machine_that_has_not_the_nodes_address_announces_nothing_for_it(lab, node, tmp_path):
    other = lab.nodes[1]
    files = {"OCICAT_BIRD_CONFIG": "bird.conf", "OCICAT_ROUTES_STATUS": "routes.json"}
    settings = {name: str(tmp_path / file) for name, file in files.items()}
    log = tmp_path / "log"
    pid = system.start(
        sys.executable,
        *("-m", "route_distributor"),
        namespace=node.namespace,
        environment={**node.environment, **settings, "NODENAME": other.name},
        log=log,
    )
    try:
        address = other.address.ip
        said = f"node {other.name}: {address} is on no link here"
        system.wait_until(lambda: said in log.read_text(), "the reason", 20)
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
    assert not (tmp_path / "bird.conf").exists()


def test_a_password_that_is_missing_is_named_and_used_as_soon_as_it_is_there(lab, node):
    key = f"{keys.BGP_PEERS}rack"
    spec = {
        "node": node.name,
        "peerIP": "10.0.0.99",
        "asNumber": 64999,
        "password": {"secretKeyRef": {"name": "bgp", "key": "rack"}},
    }
    peer = {"kind": "BGPPeer", "metadata": {"name": "rack"}, "spec": spec}
    etcd.etcdctl(lab.spec, "put", key, json.dumps(peer))
    file = node.directory / "secrets" / "bgp" / "rack"
    config = node.directory / "bird.conf"
    try:
        system.wait_until(lambda: "BGPPeer rack" in show.ctl(node, "node", "status"), "it", 10)
        file.parent.mkdir(parents=True)
        file.write_text("s3cret\n")

        system.wait_until(lambda: 'password "s3cret"' in config.read_text(), "the password", 20)

        assert "10.0.0.99" in show.ctl(node, "node", "status")
        assert "Problems" not in show.ctl(node, "node", "status")
    finally:
        etcd.etcdctl(lab.spec, "del", key)
        shutil.rmtree(file.parent, ignore_errors=True)
    system.wait_until(lambda: "10.0.0.99" not in config.read_text(), "its end", 10)
