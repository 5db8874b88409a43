"""The plugin's settings, from the environment; the same for the server and a process of its own."""

from collections.abc import Mapping
from dataclasses import dataclass

from cni_plugin.parts import ADD_TIMEOUT_S, DEL_TIMEOUT_S, Parts
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
    del_timeout_s: float
    log_level: str


def read_config(environment: Mapping[str, str]) -> Config:
    """Read the settings.

    Raises:
        Invalid: with every mistake.
    """
    mistakes = unknown_names(environment)
    add_timeout_s = _seconds(environment, "OCICAT_ADD_TIMEOUT_S", ADD_TIMEOUT_S, mistakes)
    del_timeout_s = _seconds(environment, "OCICAT_DEL_TIMEOUT_S", DEL_TIMEOUT_S, mistakes)
    level, wrong = log_level(environment)
    mistakes += wrong
    if mistakes:
        raise Invalid(f"configuration: {'; '.join(mistakes)}")
    return Config(
        socket=environment.get("OCICAT_CNI_SOCKET") or "/run/ocicat/cni.sock",
        ipam_socket=environment.get("OCICAT_IPAM_SOCKET") or "/run/ocicat/ipamd.sock",
        spool=environment.get("OCICAT_SPOOL_DIR") or "/var/lib/ocicat/releases",
        add_timeout_s=add_timeout_s,
        del_timeout_s=del_timeout_s,
        log_level=level,
    )


def _seconds(environment: Mapping[str, str], name: str, usual: float, mistakes: list[str]) -> float:
    text = environment.get(name) or str(usual)
    if not text.replace(".", "", 1).isdecimal() or float(text) <= 0:
        mistakes.append(f"{name}: {text!r} is not a number of seconds")
        return usual
    return float(text)


def make_parts(config: Config) -> Parts:
    """The real outside world."""
    return Parts(
        ipam=IpamClient(config.ipam_socket),
        spool=Spool(config.spool),
        add_timeout_s=config.add_timeout_s,
        del_timeout_s=config.del_timeout_s,
    )
