"""The ``ocicatctl lab`` commands: arguments in, the lab's methods, text out."""

import os
import sys

import click

from ocicatctl.lab import system
from ocicatctl.lab.daemons import DAEMONS, established, running
from ocicatctl.lab.lab import Lab
from ocicatctl.lab.show import draw
from ocicatctl.lab.spec import DEFAULT_NAME
from ocicatctl.table import columns
from ocicatctl.topology.outputs import output_option

_NAME = click.option(
    "--name", default=DEFAULT_NAME, show_default=True, help="Labs of several names coexist."
)


def _say(text: str) -> None:
    click.echo(f"  {text}", err=True)


@click.group(
    epilog="""\b
Examples:
  ocicatctl lab up --nodes 3 --pods 2
  ocicatctl lab status
  ocicatctl lab exec node-1 -- ip route
  ocicatctl lab add-pod node-2 web
  ocicatctl lab down
"""
)
def lab() -> None:
    """Run a whole cluster on this machine, in network namespaces (needs root)."""


@lab.command(epilog="\b\nExample:\n  ocicatctl lab up --nodes 5 --pods 1")
@_NAME
@click.option("--nodes", default=3, show_default=True, help="How many nodes it has at least.")
@click.option("--pods", default=0, show_default=True, help="How many pods every node has at least.")
def up(name: str, nodes: int, pods: int) -> None:
    """Bring the lab up; once more completes what is missing and changes nothing else."""
    cluster = Lab(name, _say)
    cluster.up(nodes)
    present = {pod.name for pod in cluster.pods()}
    for node in cluster.nodes:
        for number in range(1, pods + 1):
            pod_name = f"web-{node.number}-{number}"
            if pod_name not in present:
                pod = cluster.add_pod(node, pod_name)
                _say(f"{pod.name} on {node.name}: {pod.address}")


@lab.command(epilog="\b\nExample:\n  ocicatctl lab status --name two")
@_NAME
def status(name: str) -> None:
    """Show nodes with their daemons and sessions, and the pods."""
    cluster = Lab(name)
    nodes = []
    for node in cluster.nodes:
        alive = running(node)
        down = [daemon for daemon in DAEMONS if daemon not in alive]
        count = str(established(node)) if "bird" in alive else "-"
        daemons = "run" if not down else f"not running: {', '.join(down)}"
        nodes.append([node.name, node.namespace, str(node.address), daemons, count])
    click.echo(columns(["NODE", "NAMESPACE", "ADDRESS", "DAEMONS", "SESSIONS"], nodes), nl=False)
    click.echo()
    pods = [[pod.name, pod.node, pod.address or "-", pod.namespace] for pod in cluster.pods()]
    click.echo(columns(["POD", "NODE", "ADDRESS", "NAMESPACE"], pods), nl=False)


@lab.command(
    "exec",
    context_settings={"ignore_unknown_options": True},
    epilog="\b\nExample:\n  ocicatctl lab exec node-1 -- ocicatctl node status",
)
@_NAME
@click.argument("place")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(name: str, place: str, command: tuple[str, ...]) -> None:
    """Run a command on a node (with its settings) or in a pod."""
    cluster = Lab(name)
    if place in {pod.name for pod in cluster.pods()}:
        namespace, environment = cluster.pod(place).namespace, {}
    else:
        node = cluster.node(place)
        namespace, environment = node.namespace, node.environment
    own = os.path.dirname(sys.executable)  # so that ocicatctl is found
    path = f"{own}:{os.environ.get('PATH', '')}"
    inside = ["nsenter", f"--net={system.NETNS / namespace}", "--", *command]
    os.execvpe("nsenter", inside, {**os.environ, **environment, "PATH": path})


@lab.command("add-pod", epilog="\b\nExample:\n  ocicatctl lab add-pod node-1 web")
@_NAME
@click.argument("node")
@click.argument("pod")
def add_pod(name: str, node: str, pod: str) -> None:
    """Make a pod on a node and put it on the network, as a runtime does."""
    cluster = Lab(name)
    added = cluster.add_pod(cluster.node(node), pod)
    click.echo(f"{added.name} on {added.node}: {added.address}")


@lab.command("del-pod", epilog="\b\nExample:\n  ocicatctl lab del-pod web")
@_NAME
@click.argument("pod")
def del_pod(name: str, pod: str) -> None:
    """Take a pod off the network and remove it."""
    Lab(name).delete_pod(pod)


@lab.command(epilog="\b\nExample:\n  ocicatctl lab topology -o svg > cluster.svg")
@_NAME
@output_option
def topology(name: str, output: str) -> None:
    """Draw the lab as ocicatctl topology does, with what the BIRD of every node says."""
    drawn = draw(Lab(name), output)
    click.echo(drawn.stdout, nl=False)
    click.echo(drawn.stderr, nl=False, err=True)
    sys.exit(drawn.returncode)


@lab.command(epilog="\b\nExample:\n  ocicatctl lab down")
@_NAME
def down(name: str) -> None:
    """Remove every namespace, process and file of the lab, after a crash too."""
    Lab(name).down()


@lab.command(epilog="\b\nExample:\n  ocicatctl lab demo --nodes 4")
@_NAME
@click.option("--nodes", default=3, show_default=True)
def demo(name: str, nodes: int) -> None:
    """Show a cluster from nothing to nothing: sessions, routes, every ping, and no leftovers."""
    from ocicatctl.lab.demo import demo as run_demo

    run_demo(name, nodes)
