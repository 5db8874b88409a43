"""The route distributor's settings: environment variables as one frozen value.

Pure: no I/O. The environment and the host's name are arguments.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from datamodel.environment import log_level, node_name, unknown_names
from datamodel.errors import Invalid
from datastore.config import EtcdConfig, etcd_config

DEFAULT_BIRD_CONFIG = "/run/ocicat/bird.conf"
DEFAULT_BIRD_SOCKET = "/run/ocicat/bird.ctl"


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that the daemon has to be told."""

    node: str
    etcd: EtcdConfig
    bird_config: Path
    bird_socket: Path
    log_level: str


def distributor_config(environment: Mapping[str, str], hostname: str) -> Config:
    """Read the settings; an empty variable counts as unset, as manifests often write it so.

    Raises:
        Invalid: with every mistake.
    """
    etcd, mistakes = etcd_config(environment)
    node, wrong_node = node_name(environment, hostname)
    level, wrong_level = log_level(environment)
    config = Config(
        node=node,
        etcd=etcd,
        bird_config=Path(environment.get("OCICAT_BIRD_CONFIG") or DEFAULT_BIRD_CONFIG),
        bird_socket=Path(environment.get("OCICAT_BIRD_SOCKET") or DEFAULT_BIRD_SOCKET),
        log_level=level,
    )
    mistakes += wrong_node + wrong_level + _path_mistakes(config) + unknown_names(environment)
    if mistakes:
        raise Invalid(f"environment: {'; '.join(mistakes)}")
    return config


def _path_mistakes(config: Config) -> list[str]:
    found = []
    paths = (
        ("OCICAT_BIRD_CONFIG", config.bird_config),
        ("OCICAT_BIRD_SOCKET", config.bird_socket),
    )
    for name, path in paths:
        if not path.is_absolute():
            found.append(f"{name}: {str(path)!r} is not an absolute path")
    return found
