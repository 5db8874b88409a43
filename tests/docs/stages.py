"""What has to be so before a page's command shows what the page says."""

import json
from collections.abc import Callable
from pathlib import Path

from datastore import keys
from ocicatctl.lab import daemons, system
from tests.docs.pages import Example
from tests.docs.world import NETWORK, World
from tests.lab_store import everything

Undo = Callable[[], object]
Stage = Callable[[World], Undo]


def _applied(manifest: str) -> Stage:
    def stage(world: World) -> Undo:
        world.apply(manifest)
        return world.restore

    return stage


def _pool(name: str, cidr: str, **spec: object) -> str:
    document = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "IPPool",
        "metadata": {"name": name},
        "spec": {"cidr": cidr, **spec},
    }
    return json.dumps(document)


def _only_gpu(world: World) -> Undo:
    default = _pool("default-ipv4-ippool", "10.233.64.0/18", blockSize=24, disabled=True)
    gpu = _pool("gpu", "10.234.0.0/24", blockSize=26, nodeSelector="has(gpu)")
    world.apply(f"{default}\n---\n{gpu}")
    return world.restore


def _another_node(name: str, address: str) -> Stage:
    """A Node that no machine has registered."""

    def stage(world: World) -> Undo:
        node = json.loads(everything(world.lab)[keys.node("node-1")])
        node["metadata"]["name"] = name
        node["spec"]["bgp"]["ipv4Address"] = f"{address}/24"
        return world.put(keys.node(name), json.dumps(node).encode())

    return stage


def _complained_of(world: World) -> Undo:
    """A node with the address of another, and the distributor has noticed."""
    undo = _another_node("node-7", "10.0.0.12")(world)
    status = Path(world.node.environment["OCICAT_ROUTES_STATUS"])
    system.wait_until(lambda: "node-7" in status.read_text(), "the complaint", 20)
    return undo


def _another_route(world: World) -> Undo:
    route = world.translated("10.233.88.0/27 via 10.0.0.99 dev eth0 proto static onlink").split()
    system.run("ip", "-n", world.node.namespace, "route", "add", *route)
    return lambda: system.run("ip", "-n", world.node.namespace, "route", "del", *route)


def _without_handle(world: World) -> Undo:
    handles = [key for key in everything(world.lab) if key.startswith(keys.ALL_HANDLES)]
    return world.take(next(key for key in handles if world.dns.id in key))


def _endpoint_comes_back(world: World) -> Undo:
    return world.keep(keys.endpoint("kube-system", "node--1-k8s-dns-eth0"))


def _no_forwarding(world: World) -> Undo:
    def forward(flag: int) -> None:
        name = f"net.ipv4.ip_forward={flag}"
        system.run("sysctl", "-qw", name, namespace=world.node.namespace)

    def undo() -> None:
        forward(1)
        daemons.start(world.node, "route-distributor")

    daemons.kill(world.node, "route-distributor")  # it would set it again within a second
    forward(0)
    return undo


def _pod_goes(world: World) -> Undo:
    return lambda: world.lab.delete_pod("web")


def _pod_is_there(world: World) -> Undo:
    world.lab.add_pod(world.node, "web")
    return lambda: None


def _leaked(world: World) -> Undo:
    """A pod whose endpoint somebody has deleted."""
    pod = world.lab.add_pod(world.node, "leaked")
    world.knows(r"10\.233\.77\.2\b", pod.address)
    world.take(keys.endpoint("default", "node--1-k8s-leaked-eth0"))
    return lambda: world.lab.delete_pod("leaked")


_EXPLAIN = "ocicatctl ipam explain --node node-1"

# Command, and a line that the page shows of it ("": whatever it shows) -> what is done before.
STAGES: dict[tuple[str, str], Stage] = {
    ("ocicatctl delete ippool racks nope", ""): _applied(NETWORK),
    ("ocicatctl delete ippool old-pool", ""): _applied(_pool("old-pool", "10.98.0.0/24")),
    ("ocicatctl replace -f pools.yaml", ""): _applied(NETWORK),
    (_EXPLAIN, "does not serve"): _only_gpu,
    ("ocicatctl node status", "node-7"): _complained_of,
    ("ocicatctl node delete node-9", ""): _another_node("node-9", "10.0.0.19"),
    ("ocicatctl node delete node-9 --dry-run", ""): _another_node("node-9", "10.0.0.19"),
    ("ocicatctl delete wep -n kube-system node--1-k8s-dns-eth0", ""): _endpoint_comes_back,
    ("ocicatctl doctor --brief", "ip-forward"): _no_forwarding,
    (f"{_EXPLAIN} --pool blue --namespace-labels team=red -o json", ""): _applied(
        _pool("blue", "10.97.0.0/24", blockSize=26)
    ),
    ("ocicatctl lab add-pod node-1 web", ""): _pod_goes,
    ("ocicatctl lab add-pod node-2 web", ""): _pod_goes,
    ("ocicatctl lab del-pod web", ""): _pod_is_there,
    ("ocicatctl routes 10.233.88.0", "another route"): _another_route,
    ("ocicatctl ipam check", "no matching handle"): _without_handle,
    ("ocicatctl ipam release --ip=10.233.77.2", ""): _leaked,
}

# Settings of one example, by a line that it shows.
SETTINGS = {
    "/run/ocicat/bird.ctl: No such file": {"OCICAT_BIRD_SOCKET": "/run/ocicat/bird.ctl"},
}

# Exit statuses other than 0 that no shown line tells: why.
STATUS_1 = {
    "ocicatctl ipam release --ip=10.233.77.0": "pod web-0 has it",
    "ocicatctl ipam release --ip=10.233.77.0 --ip=10.233.77.1": "pods web-0 and dns have them",
    "ocicatctl routes fd00:10:233::88:0 -o json": "nobody has it",
}

# Of these only the exit status and headings count: why their other lines are another cluster's.
OTHERWISE = {
    "ocicatctl routes": "a session that is down takes its routes along only after minutes",
    "ocicatctl ipam check --repair --dry-run": "what leaked must be a minute old",
    "ocicatctl lab up --nodes 2 --pods 1": "the lab is up already",
}


def stage_of(example: Example) -> Stage | None:
    """What is done before an example."""
    shown = "\n".join(example.output or ())
    return next(
        (
            stage
            for (command, line), stage in STAGES.items()
            if command == example.command and line in shown
        ),
        None,
    )


def settings_of(example: Example) -> dict[str, str]:
    """Settings in which an example is run."""
    shown = "\n".join(example.output or ())
    return next((some for line, some in SETTINGS.items() if line in shown), {})


def statuses_of(example: Example) -> tuple[int, ...]:
    """The exit status that the page states: 1 if it shows what has failed, or is wrong."""
    if example.command.split()[:2] == ["ocicatctl", "doctor"]:
        return 0, 1  # as the machine is
    if example.command in STATUS_1:
        return (1,)
    shown = example.output or ()
    wrong = ("ocicatctl: ", "  wrong  ", "Found 2 problems in all")
    is_wrong = any(text.startswith(wrong) for text in shown)
    return (int(is_wrong and example.command not in OTHERWISE),)
