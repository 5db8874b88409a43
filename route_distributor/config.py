"""The route distributor's settings: environment variables as one frozen value.

Pure: no I/O. The environment and the host's name are arguments.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from datamodel.environment import listening, log_level, node_name, unknown_names
from datamodel.errors import Invalid
from datastore.config import EtcdConfig, etcd_config

PATHS = {
    "OCICAT_BIRD_CONFIG": "/run/ocicat/bird.conf",
    "OCICAT_BIRD_SOCKET": "/run/ocicat/bird.ctl",
    "OCICAT_ROUTES_STATUS": "/run/ocicat/routes.json",
    "OCICAT_SECRETS_DIR": "/etc/ocicat/secrets",
}
FREE_ADDRESSES = ("blackhole", "unreachable")
HASH = "hash"


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that the daemon has to be told."""

    node: str
    etcd: EtcdConfig
    bird_config: Path
    bird_socket: Path
    status_file: Path
    secrets_dir: Path
    router_id: str  # an IPv4 address; "hash": made of the node's name; "": the node's address
    free_addresses: str  # what packets to them meet: "blackhole" or "unreachable"
    metrics: tuple[str, int] | None  # where to serve metrics and health; None: nowhere
    log_level: str


def distributor_config(environment: Mapping[str, str], hostname: str) -> Config:
    """Read the settings; an empty variable counts as unset, as manifests often write it so.

    Raises:
        Invalid: with every mistake.
    """
    etcd, mistakes = etcd_config(environment)
    node, wrong_node = node_name(environment, hostname)
    level, wrong_level = log_level(environment)
    metrics, wrong_metrics = listening(environment, "OCICAT_ROUTES_METRICS", "127.0.0.1:9099")
    paths = {name: Path(environment.get(name) or default) for name, default in PATHS.items()}
    config = Config(
        node=node,
        etcd=etcd,
        bird_config=paths["OCICAT_BIRD_CONFIG"],
        bird_socket=paths["OCICAT_BIRD_SOCKET"],
        status_file=paths["OCICAT_ROUTES_STATUS"],
        secrets_dir=paths["OCICAT_SECRETS_DIR"],
        router_id=environment.get("CALICO_ROUTER_ID", ""),
        free_addresses=environment.get("OCICAT_FREE_ADDRESSES") or FREE_ADDRESSES[0],
        metrics=metrics,
        log_level=level,
    )
    mistakes += [*wrong_node, *wrong_level, *wrong_metrics]
    mistakes += [
        f"{name}: {str(path)!r} is not an absolute path"
        for name, path in paths.items()
        if not path.is_absolute()
    ]
    mistakes += _choice_mistakes(config) + unknown_names(environment)
    if mistakes:
        raise Invalid(f"environment: {'; '.join(mistakes)}")
    return config


def _choice_mistakes(config: Config) -> list[str]:
    found = []
    if config.router_id not in ("", HASH) and not _is_router_id(config.router_id):
        found.append(f"CALICO_ROUTER_ID: {config.router_id!r} is no IPv4 address and not {HASH}")
    if config.free_addresses not in FREE_ADDRESSES:
        found.append(
            f"OCICAT_FREE_ADDRESSES: {config.free_addresses!r} is not one of "
            f"{', '.join(FREE_ADDRESSES)}"
        )
    return found


def _is_router_id(text: str) -> bool:
    try:
        return int(IPv4Address(text)) != 0
    except AddressValueError:
        return False
