"""The names of our own environment variables, and the settings that all daemons read alike.

Pure: no I/O. All daemons may share one environment file, so all of them know every name; a name
that begins with OCICAT_ and is not here is a mistake.
"""

import ipaddress
import math
import re
from collections.abc import Mapping

OURS = {
    "OCICAT_IPAM_SOCKET": "Unix socket of ipamd",
    "OCICAT_CNI_SOCKET": "Unix socket of the CNI server",
    "OCICAT_SPOOL_DIR": "directory of releases that could not be delivered yet",
    "OCICAT_ADD_TIMEOUT_S": "seconds an ADD may take",
    "OCICAT_DEL_TIMEOUT_S": "seconds any other CNI call may take",
    "OCICAT_BIRD_CONFIG": "file that the route distributor writes for BIRD",
    "OCICAT_BIRD_SOCKET": "BIRD's control socket",
    "OCICAT_FREE_ADDRESSES": "what packets to free addresses of this node's blocks meet",
    "OCICAT_ROUTES_STATUS": "file in which the route distributor says how it is doing",
    "OCICAT_SECRETS_DIR": "directory of passwords of BGP sessions",
    "OCICAT_RECONCILE_PERIOD_S": "seconds between two reports of the node's links",
    "OCICAT_LEAK_GRACE_S": "seconds for which an address must have no link to be freed",
    "OCICAT_HISTORY_DIR": "directory of who held which address; none: no history",
    "OCICAT_HISTORY_MB": "megabytes that the history may take",
    "OCICAT_IPAMD_METRICS": "address:port where ipamd shows its metrics; empty: nowhere",
    "OCICAT_CNI_METRICS": "address:port where the CNI server shows its metrics; empty: nowhere",
    "OCICAT_ROUTES_METRICS": "address:port of the route distributor's metrics; empty: nowhere",
    "OCICAT_CONTROLLERS_METRICS": "address:port of the controller's metrics; empty: nowhere",
    "OCICAT_CONTROLLERS_NODE_GRACE": "how long a node must be gone to be taken back",
    "OCICAT_CONTROLLERS_LEAK_GRACE": "how long the pod of an address must be gone",
    "OCICAT_LOG_LEVEL": "debug, info, warning or error",
}


def unknown_names(environment: Mapping[str, str]) -> list[str]:
    """Say of every OCICAT_ variable that does not exist that it does not."""
    return [
        f"{name} is not a setting; there are {', '.join(OURS)}"
        for name in sorted(environment)
        if name.startswith("OCICAT_") and name not in OURS
    ]


LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_NODE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,253}")  # it becomes part of keys in etcd


def log_level(environment: Mapping[str, str]) -> tuple[str, list[str]]:
    """Read OCICAT_LOG_LEVEL, in any case; return it as logging names it, and what is wrong."""
    level = environment.get("OCICAT_LOG_LEVEL") or "info"
    if level.upper() in LOG_LEVELS:
        return level.upper(), []
    choices = ", ".join(LOG_LEVELS).lower()
    return "INFO", [f"OCICAT_LOG_LEVEL: {level!r} is not one of {choices}"]


_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{0,12})?|\.[0-9]{1,12}", re.ASCII)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(rf"({_NUMBER.pattern})({'|'.join(_UNITS)})")


def duration(environment: Mapping[str, str], name: str, default: float) -> tuple[float, list[str]]:
    """Read a number of seconds, or a duration as Go writes it (``1m30s``); and what is wrong."""
    value = environment.get(name) or str(default)
    if _NUMBER.fullmatch(value):
        seconds = float(value)
    elif re.fullmatch(rf"({_DURATION.pattern})+", value):
        seconds = math.fsum(float(m[1]) * _UNITS[m[3]] for m in _DURATION.finditer(value))
    else:
        seconds = 0.0
    if seconds > 0:
        return seconds, []
    return default, [f"{name}: {value!r} is not a duration, e.g. 60s or 1m30s"]


_LISTENING = re.compile(r"(\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):([0-9]{1,5})")


def listening(
    environment: Mapping[str, str], name: str, example: str
) -> tuple[tuple[str, int] | None, list[str]]:
    """Read where to listen, ``None`` for nowhere; return it, and what is wrong."""
    text = environment.get(name, "")
    if not text:
        return None, []
    match = _LISTENING.fullmatch(text)
    try:
        host = str(ipaddress.ip_address(match[2] or match[3])) if match else ""
    except ValueError:
        host = ""
    port = int(match[4]) if match else 0
    if host and 0 < port < 1 << 16:
        return (host, port), []
    return None, [f"{name}: {text!r} is not address:port, e.g. {example}"]


def node_name(environment: Mapping[str, str], hostname: str) -> tuple[str, list[str]]:
    """Read NODENAME, else the host's name as Calico writes it; return it, and what is wrong."""
    name = environment.get("NODENAME") or hostname.strip().lower()
    return name, [] if is_node_name(name) else [f"NODENAME: {name!r} is not a node's name"]


def is_node_name(text: str) -> bool:
    """Whether a node may be called so; anything else could be taken for several parts of a key."""
    return _NODE_NAME.fullmatch(text) is not None
