"""The controller's settings: environment variables as one frozen value.

Pure: no I/O. Names and meanings are Calico's where Calico has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from datamodel.environment import duration, listening, log_level, unknown_names
from datamodel.errors import Invalid
from datastore.config import EtcdConfig, etcd_config
from kube_api.access import Where, find_access

NODE = "node"
METRICS = "OCICAT_CONTROLLERS_METRICS"
# Those of Calico that there is no need for here, and why.
_OTHERS = {
    "policy": "there are no policies",
    "namespace": "no profiles are made of namespaces",
    "serviceaccount": "no profiles are made of service accounts",
    "workloadendpoint": "the CNI server records a pod's labels at its ADD",
    "flannelmigration": "there is nothing to migrate",
    "loadbalancer": "services get no addresses of pools",
}


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that the controller has to be told."""

    etcd: EtcdConfig
    kubernetes: Where
    period_s: float
    node_grace_s: float
    leak_grace_s: float
    metrics: tuple[str, int] | None  # where to serve metrics and health; None: nowhere
    log_level: str


def controllers_config(environment: Mapping[str, str]) -> Config:
    """Read the settings; an empty variable counts as unset, as manifests often write it so.

    Raises:
        Invalid: with every mistake.
    """
    etcd, mistakes = etcd_config(environment)
    where, wrong_where = find_access(environment)
    level, wrong_level = log_level(environment)
    metrics, wrong_metrics = listening(environment, METRICS, "127.0.0.1:9096")
    period_s, wrong_period = duration(environment, "RECONCILER_PERIOD", 300)
    node_s, wrong_node = duration(environment, "OCICAT_CONTROLLERS_NODE_GRACE", 60)
    leak_s, wrong_leak = duration(environment, "OCICAT_CONTROLLERS_LEAK_GRACE", 900)
    mistakes += [*wrong_where, *wrong_level, *wrong_metrics]
    mistakes += [*wrong_period, *wrong_node, *wrong_leak]
    mistakes += [*_wrong_controllers(environment), *unknown_names(environment)]
    if where is None and not wrong_where:
        mistakes.append(
            "neither KUBECONFIG nor KUBERNETES_SERVICE_HOST is set; run it in a pod or give it a "
            "kubeconfig"
        )
    if where is None or mistakes:
        raise Invalid(f"environment: {'; '.join(mistakes)}")
    return Config(etcd, where, period_s, node_s, leak_s, metrics, level)


def _wrong_controllers(environment: Mapping[str, str]) -> list[str]:
    text = environment.get("ENABLED_CONTROLLERS") or NODE
    found = []
    for name in dict.fromkeys(part.strip() for part in text.split(",")):
        if name != NODE:
            why = f" ({_OTHERS[name]})" if name in _OTHERS else ""
            found.append(f"ENABLED_CONTROLLERS: {name!r} is not served{why}; set it to {NODE!r}")
    return found
