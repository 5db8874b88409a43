"""The benchmark: our ADD and DEL and those of Debian's ptp with host-local, alternately.

Brings up a lab of one node for it and takes it down again.
"""

import argparse
import os
import sys
from pathlib import Path

from bench.measure import bursts, sequential
from bench.process import rss_mb
from bench.side import ours, theirs
from bench.stats import Figures
from cni_plugin import netns
from datamodel.errors import OcicatError
from ocicatctl.lab.lab import Lab
from ocicatctl.lab.pidfile import PidFile
from ocicatctl.lab.runtime import Container
from ocicatctl.lab.spec import NodeSpec
from ocicatctl.lab.system import NETNS

LAB = "bench"
COUNT = 110  # a kubelet's default limit of pods
ROUNDS = 5


def main() -> None:
    """Run the benchmark; table and JSON to stdout, progress to stderr."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT, help="pods per side (%(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="bursts (%(default)s)")
    arguments = parser.parse_args()
    if min(arguments.count, arguments.rounds) < 1:
        parser.error("--count and --rounds are at least 1")
    lab = Lab(LAB, _say)
    try:
        lab.down()  # of a benchmark that was killed
        try:
            figures = run(lab, arguments.count, arguments.rounds)
        finally:
            lab.down()
    except OcicatError as error:
        sys.exit(f"bench: {error}")
    print(figures.table, end="")
    print(figures.json)


def run(lab: Lab, count: int, rounds: int) -> Figures:
    """Bring the lab up and measure both sides, in the node's network namespace.

    Raises:
        CallFailed: a call did not do its work.
    """
    lab.up(1)
    (node,) = lab.nodes
    _say(f"namespaces of 2 × {count} pods")
    pods = [_containers(lab, node, name, count) for name in ("ours", "theirs")]
    daemons = {
        **{name: _process(node.directory, name) for name in ("cni-server", "ipamd")},
        "etcd": _process(lab.spec.directory / "etcd", "etcd"),
    }
    sides = (
        ours(node.bin / "ocicat", lab.runtime(node).conflist, pods[0], daemons),
        theirs(lab.spec.directory / "host-local", pods[1]),
    )
    fd = os.open(NETNS / node.namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with netns.entered(fd):
            rows = sequential(sides, count, _say)
            at_once, costs = bursts(sides, count, rounds, _say)
    finally:
        os.close(fd)
    return Figures([*rows, *at_once], costs, rss_mb(daemons["cni-server"]))


def _process(directory: Path, daemon: str) -> int:
    pid = PidFile(directory, daemon).read()
    assert pid is not None, f"{daemon} of the lab is not there"
    return pid


def _containers(lab: Lab, node: NodeSpec, name: str, count: int) -> list[Container]:
    return [lab.container(node, f"{name}-{i}").container for i in range(count)]


def _say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
