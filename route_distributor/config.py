"""The route distributor's settings: environment variables as one frozen value.

Pure: no I/O. The environment and the host's name are arguments.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from datamodel.environment import unknown_names
from datamodel.errors import Invalid
from datastore.config import EtcdConfig, etcd_config

DEFAULT_BIRD_CONFIG = "/run/ocicat/bird.conf"
DEFAULT_BIRD_SOCKET = "/run/ocicat/bird.ctl"
DEFAULT_LOG_LEVEL = "info"
LOG_LEVELS = ("debug", "info", "warning", "error")

_NODE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,253}")  # it becomes part of a key in etcd


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
    config = Config(
        node=environment.get("NODENAME") or hostname.lower(),
        etcd=etcd,
        bird_config=Path(environment.get("OCICAT_BIRD_CONFIG") or DEFAULT_BIRD_CONFIG),
        bird_socket=Path(environment.get("OCICAT_BIRD_SOCKET") or DEFAULT_BIRD_SOCKET),
        log_level=environment.get("OCICAT_LOG_LEVEL") or DEFAULT_LOG_LEVEL,
    )
    mistakes = mistakes + _mistakes(config) + unknown_names(environment)
    if mistakes:
        raise Invalid(f"environment: {'; '.join(mistakes)}")
    return config


def _mistakes(config: Config) -> list[str]:
    found = []
    if not _NODE_NAME.fullmatch(config.node):
        found.append(f"NODENAME: {config.node!r} is not a node's name")
    if config.log_level not in LOG_LEVELS:
        found.append(
            f"OCICAT_LOG_LEVEL: {config.log_level!r} is not one of {', '.join(LOG_LEVELS)}"
        )
    paths = (
        ("OCICAT_BIRD_CONFIG", config.bird_config),
        ("OCICAT_BIRD_SOCKET", config.bird_socket),
    )
    for name, path in paths:
        if not path.is_absolute():
            found.append(f"{name}: {str(path)!r} is not an absolute path")
    return found
