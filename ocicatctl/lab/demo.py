"""The demonstration: a cluster comes up, its pods reach each other, and nothing of them is left.

Story. What does not hold is named, and the exit status says so.
"""

import time

import click

from datamodel.errors import Invalid, OcicatError
from ocicatctl.lab import show
from ocicatctl.lab.daemons import bird_routes
from ocicatctl.lab.lab import Lab
from ocicatctl.lab.show import Matrix, place_of_node, place_of_pod

PODS_PER_NODE = 2


class NotSo(OcicatError):
    """Something that the demonstration claims is not so."""


def demo(name: str, nodes: int) -> None:
    """Show a whole cluster, from nothing to nothing.

    Raises:
        NotSo: something that was to be shown does not hold; the lab stays for a look.
    """
    lab = Lab(name, lambda text: click.echo(f"  {text}"))
    begun = time.monotonic()
    _clear_the_stage(lab)
    _title(f"{nodes} nodes in network namespaces, one etcd, BIRD 2 and our daemons on every node")
    lab.up(nodes)
    before = {node.name: bird_routes(node) for node in lab.nodes}
    _title(f"ADD: {PODS_PER_NODE} pods per node, through the installed CNI executable")
    for node in lab.nodes:
        for number in range(1, PODS_PER_NODE + 1):
            started = time.monotonic()
            pod = lab.add_pod(node, f"web-{node.number}-{number}")
            took_ms = (time.monotonic() - started) * 1000
            click.echo(f"  {pod.name} on {node.name}: {pod.address} ({took_ms:.0f} ms)")
    show_cluster(lab)
    _show_pings(lab)
    _title("DEL of every pod")
    for pod in lab.pods():
        lab.delete_pod(pod.name)
        click.echo(f"  {pod.name} on {pod.node}: gone")
    _prove_nothing_is_left(lab, before)
    lab.down()
    _title(
        f"Done in {time.monotonic() - begun:.0f} s; the lab is removed. Play with one: "
        "ocicatctl lab up"
    )


def _clear_the_stage(lab: Lab) -> None:
    """Remove what a demonstration that broke off left; a lab that somebody plays with stays."""
    mark = lab.spec.directory / "demo"
    if lab.spec.directory.exists():
        if not mark.exists():
            raise Invalid(
                f"lab {lab.spec.name}: is up; take it down with ocicatctl lab down, "
                "or show the demonstration under another --name"
            )
        _title("An earlier demonstration broke off: removing what is left of it")
        lab.down()
    lab.spec.directory.mkdir(parents=True)
    mark.touch()


def show_cluster(lab: Lab) -> None:
    """Show sessions, blocks, endpoints and the routes of one node."""
    first = lab.nodes[0]
    for node in lab.nodes:
        _section(f"{node.name}$ ocicatctl node status", show.ctl(node, "node", "status"))
    _section("Blocks per node, as etcd has them", show.blocks(lab))
    for command in ("ipam show --show-blocks", "get workloadendpoint --all-namespaces"):
        _section(f"ocicatctl {command}", show.ctl(first, *command.split()))
    _section(f"{first.name}$ ip route", show.routes(first))


def _show_pings(lab: Lab) -> None:
    pods = [place_of_pod(pod) for pod in lab.pods()]
    nodes = [place_of_node(node) for node in lab.nodes]
    matrices = (
        ("Ping, pod to pod (round-trip time in ms)", Matrix(pods, pods)),
        ("Ping, node to pod", Matrix(nodes, pods)),
        ("Ping, pod to node", Matrix(pods, nodes)),
    )
    for title, matrix in matrices:
        _title(title)
        click.echo(matrix.table())
        click.echo(f"  {matrix.answered} of {matrix.total} answered")
    if lost := [title for title, matrix in matrices if matrix.answered < matrix.total]:
        raise NotSo(f"demo: not every ping was answered: {'; '.join(lost)}")


def _prove_nothing_is_left(lab: Lab, before: dict[str, tuple[str, ...]]) -> None:
    _title("What is left of the pods")
    found = list(show.leftovers(lab).found)
    after = {node.name: bird_routes(node) for node in lab.nodes}
    found += [
        f"{name}: BIRD has {' '.join(after[name])} and had {' '.join(before[name])}"
        for name in before
        if after[name] != before[name]
    ]
    if found:
        raise NotSo("demo: something is left: " + "; ".join(found))
    click.echo("  links cali*: none    pod routes: none    undelivered releases: none")
    click.echo("  etcd: no allocation, no handle, no workload endpoint")
    for name, prefixes in after.items():
        click.echo(f"  {name}: BIRD's table is as before the pods: {' '.join(prefixes)}")


def _title(text: str) -> None:
    click.secho(f"\n==> {text}", bold=True)


def _section(title: str, text: str) -> None:
    click.secho(f"\n{title}", bold=True)
    click.echo(text)
