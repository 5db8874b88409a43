"""The plugin's settings, from the environment; the same for the server and a process of its own."""

from collections.abc import Mapping
from dataclasses import dataclass

from cni_plugin.parts import ADD_TIMEOUT_S, Parts
from cni_plugin.spool import Spool
from datamodel.environment import log_level, unknown_names
from datamodel.errors import Invalid
from ipam_api.client import IpamClient


@dataclass(frozen=True, slots=True)
class Config:
    """Where everything is."""

    socket: str
    ipam_socket: str
    spool: str
    add_timeout_s: float
    log_level: str


def read_config(environment: Mapping[str, str]) -> Config:
    """Read the settings.

    Raises:
        Invalid: with every mistake.
    """
    mistakes = unknown_names(environment)
    timeout = environment.get("OCICAT_ADD_TIMEOUT_S") or str(ADD_TIMEOUT_S)
    if not timeout.replace(".", "", 1).isdecimal() or float(timeout) <= 0:
        mistakes.append(f"OCICAT_ADD_TIMEOUT_S: {timeout!r} is not a number of seconds")
        timeout = str(ADD_TIMEOUT_S)
    level, wrong = log_level(environment)
    mistakes += wrong
    if mistakes:
        raise Invalid(f"configuration: {'; '.join(mistakes)}")
    return Config(
        socket=environment.get("OCICAT_CNI_SOCKET") or "/run/ocicat/cni.sock",
        ipam_socket=environment.get("OCICAT_IPAM_SOCKET") or "/run/ocicat/ipamd.sock",
        spool=environment.get("OCICAT_SPOOL_DIR") or "/var/lib/ocicat/releases",
        add_timeout_s=float(timeout),
        log_level=level,
    )


def make_parts(config: Config) -> Parts:
    """The real outside world."""
    return Parts(
        ipam=IpamClient(config.ipam_socket),
        spool=Spool(config.spool),
        add_timeout_s=config.add_timeout_s,
    )
