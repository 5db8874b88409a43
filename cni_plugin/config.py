"""The plugin's settings, from the environment; the same for the server and a process of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from cni_plugin import call_log
from cni_plugin.health import Pulse, unreadiness
from cni_plugin.parts import ADD_TIMEOUT_S, DEL_TIMEOUT_S, Parts, Pods
from cni_plugin.spool import Spool
from datamodel.environment import listening, log_level, unknown_names
from datamodel.errors import Invalid
from ipam_api.client import IpamClient
from kube_api.access import Access, Where, find_access


@dataclass(frozen=True, slots=True)
class Config:
    """Where everything is."""

    socket: str
    ipam_socket: str
    spool: str
    add_timeout_s: float
    del_timeout_s: float
    log_level: str
    kubernetes: Where | None = None
    metrics_address: tuple[str, int] | None = None  # None: nowhere


def read_config(environment: Mapping[str, str]) -> Config:
    """Read the settings.

    Raises:
        Invalid: with every mistake.
    """
    mistakes = unknown_names(environment)
    add_timeout_s = _seconds(environment, "OCICAT_ADD_TIMEOUT_S", ADD_TIMEOUT_S, mistakes)
    del_timeout_s = _seconds(environment, "OCICAT_DEL_TIMEOUT_S", DEL_TIMEOUT_S, mistakes)
    level, wrong = log_level(environment)
    kubernetes, wrong_kubernetes = find_access(environment)
    metrics, wrong_metrics = listening(environment, "OCICAT_CNI_METRICS", "127.0.0.1:9097")
    mistakes += wrong + wrong_kubernetes + wrong_metrics
    if mistakes:
        raise Invalid(f"configuration: {'; '.join(mistakes)}")
    return Config(
        socket=environment.get("OCICAT_CNI_SOCKET") or "/run/ocicat/cni.sock",
        ipam_socket=environment.get("OCICAT_IPAM_SOCKET") or "/run/ocicat/ipamd.sock",
        spool=environment.get("OCICAT_SPOOL_DIR") or "/var/lib/ocicat/releases",
        add_timeout_s=add_timeout_s,
        del_timeout_s=del_timeout_s,
        log_level=level,
        kubernetes=kubernetes,
        metrics_address=metrics,
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
        ipam=IpamClient(config.ipam_socket, call_log.trace_id),
        spool=Spool(config.spool),
        add_timeout_s=config.add_timeout_s,
        del_timeout_s=config.del_timeout_s,
        pods=_pods(config.kubernetes),
    )


def _pods(where: Where | None) -> Pods | None:
    """Who knows the pods; nobody in a pod whose service account's token is kept from it."""
    if isinstance(where, Access) and isinstance(where.token, Path) and not where.token.exists():
        return None
    if where is None:
        return None
    # Importing this takes longer than an ADD: only for who needs it.
    from cni_plugin.kubernetes import KubernetesPods
    from kube_api.client import ApiClient

    return KubernetesPods(ApiClient(where))


def metered(parts: Parts, config: Config, pulse: Pulse) -> Parts:
    """The same with numbers for Prometheus, if they are asked for.

    They are shown until the process ends, with the server's health.

    Raises:
        Invalid: they cannot be shown there.
    """
    if config.metrics_address is None:
        return parts
    from cni_plugin.metrics import Metrics  # the same holds for these
    from health_api.web import Check, WebServer

    metrics = Metrics(parts.spool.__len__)
    checks: dict[str, Check] = {
        "/liveness": pulse.check,
        "/readiness": partial(unreadiness, config.socket, parts.ipam),
    }
    WebServer("OCICAT_CNI_METRICS", config.metrics_address, metrics.registry, checks)
    return replace(parts, meter=metrics)
