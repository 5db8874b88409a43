"""A router outside the cluster that runs another implementation of BGP: GoBGP."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.netns.bird_nodes import Lan
from tests.netns.namespaces import eventually, ip

ADDRESS, AS = "10.0.0.254", 64513
# Kinds of path attributes, by their number in BGP.
_AS_PATH, _NEXT_HOP, _COMMUNITIES = 2, 3, 8


@dataclass(frozen=True)
class Route:
    """What the router was told of a destination."""

    next_hop: str
    as_path: tuple[int, ...]
    communities: frozenset[str]


class Router:
    """A GoBGP in a namespace of its own. It leaves the kernel's routes alone."""

    def __init__(self, netns: str) -> None:
        self.netns = netns

    @property
    def is_ready(self) -> bool:
        """Whether it answers."""
        return self._run("global").returncode == 0

    @property
    def learnt(self) -> Mapping[str, frozenset[Route]]:
        """What its peers told it, by destination; as many routes as peers told it."""
        found = self._run("-j", "global", "rib")
        assert found.returncode == 0, found.stderr
        ribs: Mapping[str, list[dict[str, Any]]] = json.loads(found.stdout)
        return {
            prefix: frozenset(_route(path) for path in paths)
            for prefix, paths in ribs.items()
            if any("neighbor-ip" in path for path in paths)
        }

    def announce(self, prefix: str, *attributes: str) -> None:
        """Tell the peers of a destination."""
        added = self._run("global", "rib", "add", prefix, *attributes)
        assert added.returncode == 0, added.stdout

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ("nsenter", f"--net=/run/netns/{self.netns}", "gobgp", *arguments)
        return subprocess.run(command, capture_output=True, text=True, timeout=10)


@contextmanager
def router(
    lan: Lan, directory: Path, *neighbors: Mapping[str, object], address: str = ADDRESS
) -> Iterator[Router]:
    """Run a router on a switch; *neighbors* as in GoBGP's own file."""
    found = Router(lan.plug("router", f"{ADDRESS}/24"))
    if address != ADDRESS:
        ip("-n", found.netns, "addr", "add", address, "dev", "lo")
    config = directory / "gobgp.json"
    wanted = {"global": {"config": {"as": AS, "router-id": ADDRESS}}, "neighbors": neighbors}
    config.write_text(json.dumps(wanted))
    command = ["gobgpd", "-t", "json", "-f", config, "--pprof-disable"]
    process = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{found.netns}", *command, "--api-hosts=127.0.0.1:50051"],
        stdout=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: found.is_ready)
        yield found
    finally:
        process.kill()
        process.wait()


def neighbor(
    address: str, as_number: int, *, source: str = ADDRESS, **config: object
) -> Mapping[str, object]:
    """Describe a node as the router's neighbor, in the words of GoBGP's file."""
    return {
        "config": {"neighbor-address": address, "peer-as": as_number, **config},
        "timers": {"config": {"connect-retry": 1}},
        "transport": {"config": {"local-address": source}},
    }


def _route(path: Mapping[str, Any]) -> Route:
    attributes = {each["type"]: each for each in path["attrs"]}
    numbers = attributes.get(_COMMUNITIES, {}).get("communities", [])
    return Route(
        next_hop=attributes[_NEXT_HOP]["nexthop"],
        as_path=tuple(n for part in attributes[_AS_PATH]["as_paths"] for n in part["asns"]),
        communities=frozenset(f"{number >> 16}:{number & 0xFFFF}" for number in numbers),
    )
