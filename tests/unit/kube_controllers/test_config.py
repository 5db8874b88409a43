from pathlib import Path

import pytest

from datamodel.environment import OURS
from datamodel.errors import Invalid
from kube_controllers.config import controllers_config

KUBECONFIG = {"KUBECONFIG": "/etc/kubeconfig"}


def mistakes_of(**environment: str) -> str:
    with pytest.raises(Invalid) as caught:
        controllers_config({**KUBECONFIG, **environment})
    return str(caught.value)


def test_with_a_kubeconfig_alone_everything_has_a_default():
    config = controllers_config(KUBECONFIG)

    assert config.etcd.endpoints == ("http://127.0.0.1:2379",)
    assert config.kubernetes == Path("/etc/kubeconfig")
    assert (config.period_s, config.node_grace_s, config.leak_grace_s) == (300, 60, 900)
    assert (config.metrics, config.log_level) == (None, "INFO")


def test_durations_are_gos_or_seconds():
    config = controllers_config(
        {
            **KUBECONFIG,
            "RECONCILER_PERIOD": "1m30s",
            "OCICAT_CONTROLLERS_NODE_GRACE": "5",
            "OCICAT_CONTROLLERS_LEAK_GRACE": "1h",
            "OCICAT_CONTROLLERS_METRICS": "0.0.0.0:9096",
            "ENABLED_CONTROLLERS": "node",
        }
    )

    assert (config.period_s, config.node_grace_s, config.leak_grace_s) == (90, 5, 3600)
    assert config.metrics == ("0.0.0.0", 9096)


def test_the_environment_of_all_daemons_is_taken():
    environment = dict.fromkeys(OURS, "") | KUBECONFIG | {"NODENAME": "node-1", "AS": "64512"}

    assert controllers_config(environment) == controllers_config(KUBECONFIG)


def test_every_mistake_is_named():
    text = mistakes_of(
        KUBECONFIG="a",
        ETCD_ENDPOINTS="x",
        RECONCILER_PERIOD="often",
        OCICAT_CONTROLLERS_NODE_GRACE="0",
        OCICAT_CONTROLLERS_LEAK_GRACE="-1s",
        OCICAT_CONTROLLERS_METRICS="here",
        OCICAT_LOG_LEVEL="loud",
        OCICAT_CONTROLERS="x",
    )

    for name in (
        "KUBECONFIG: 'a'",
        "ETCD_ENDPOINTS: 'x'",
        "RECONCILER_PERIOD: 'often' is not a duration",
        "OCICAT_CONTROLLERS_NODE_GRACE: '0'",
        "OCICAT_CONTROLLERS_LEAK_GRACE: '-1s'",
        "OCICAT_CONTROLLERS_METRICS: 'here'",
        "OCICAT_LOG_LEVEL: 'loud'",
        "OCICAT_CONTROLERS is not a setting",
    ):
        assert name in text


def test_controllers_that_are_not_served_are_named():
    text = mistakes_of(ENABLED_CONTROLLERS="node,policy,more")

    assert text == (
        "environment: ENABLED_CONTROLLERS: 'policy' is not served (there are no policies); set it "
        "to 'node'; ENABLED_CONTROLLERS: 'more' is not served; set it to 'node'"
    )


def test_without_kubernetes_there_is_nothing_to_do():
    with pytest.raises(Invalid, match="neither KUBECONFIG nor KUBERNETES_SERVICE_HOST is set"):
        controllers_config({})
