"""The daemons of a node: our own and BIRD, each started as a unit on a real node would start it.

Edge: processes, BIRD's control socket, ip(8).
"""

import json
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from bird_api.control import BirdControl
from bird_api.protocols import SHOW_PROTOCOLS, Session, sessions
from ocicatctl.lab import health, system
from ocicatctl.lab.pidfile import PidFile
from ocicatctl.lab.spec import NodeSpec

START_TIMEOUT_S = 30.0

# In the order in which they start: BIRD needs the file that the distributor writes.
DAEMONS = ("ipamd", "cni-server", "route-distributor", "bird")


def start(
    node: NodeSpec, daemon: str, *, wait: bool = True, settings: Mapping[str, str] | None = None
) -> float:
    """Start a daemon unless it runs; return the seconds until it serves.

    *settings* are for this run of it, on top of the node's.
    """
    pid_file = PidFile(node.directory, daemon)
    if not pid_file.is_running():
        pid_file.write(_launch(node, daemon, {**node.environment, **(settings or {})}))
    if not wait:
        return 0.0
    return system.wait_until(
        lambda: _serves(node, daemon), f"{node.name}: {daemon}", START_TIMEOUT_S
    )


def kill(node: NodeSpec, daemon: str, number: int = signal.SIGKILL) -> None:
    """Send a signal to a daemon; see ``PidFile.kill``."""
    PidFile(node.directory, daemon).kill(number)


def running(node: NodeSpec) -> list[str]:
    """Which daemons of a node run."""
    return [daemon for daemon in DAEMONS if PidFile(node.directory, daemon).is_running()]


def established(node: NodeSpec) -> int:
    """How many BGP sessions of a node are established, asked of its BIRD."""
    return sum(session.is_established for session in bgp_sessions(node))


def bgp_sessions(node: NodeSpec) -> list[Session]:
    """The BGP sessions of a node, asked of its BIRD."""
    with BirdControl(node.environment["OCICAT_BIRD_SOCKET"]) as bird:
        return sessions(bird.command(SHOW_PROTOCOLS))


def kernel_routes(node: NodeSpec) -> set[str]:
    """The destinations in a node's kernel."""
    listing = json.loads(system.run("ip", "-j", "route", namespace=node.namespace).stdout)
    return {str(route["dst"]) for route in listing}


def bird_routes(node: NodeSpec) -> tuple[str, ...]:
    """The prefixes in a node's BIRD, sorted."""
    control = node.environment["OCICAT_BIRD_SOCKET"]
    listing = system.run("birdc", "-r", "-s", control, "show", "route").stdout
    return tuple(sorted(re.findall(r"^\d[0-9./]+", listing, re.MULTILINE)))


def _launch(node: NodeSpec, daemon: str, environment: Mapping[str, str]) -> int:
    """Start it as a process of this machine; return its id."""
    return system.start(
        *_command(node, daemon),
        namespace=node.namespace,
        environment=environment,
        log=node.directory / f"{daemon}.log",
    )


def _command(node: NodeSpec, daemon: str) -> list[str]:
    if daemon == "bird":
        # -R: recover gracefully, so that peers keep our routes over a restart. -f: keep the pid.
        config, control = (node.environment[f"OCICAT_BIRD_{n}"] for n in ("CONFIG", "SOCKET"))
        return ["bird", "-f", "-R", "-c", config, "-s", control]
    modules = {"cni-server": "cni_plugin.server"}
    return [sys.executable, "-m", modules.get(daemon, daemon.replace("-", "_"))]


def _serves(node: NodeSpec, daemon: str) -> bool:
    environment = node.environment
    if daemon == "ipamd":
        return health.is_serving(environment["OCICAT_IPAM_SOCKET"])
    if daemon == "route-distributor":
        return Path(environment["OCICAT_BIRD_CONFIG"]).exists()
    name = "OCICAT_CNI_SOCKET" if daemon == "cni-server" else "OCICAT_BIRD_SOCKET"
    return health.accepts(environment[name])
