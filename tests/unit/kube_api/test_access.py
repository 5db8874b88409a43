from pathlib import Path

import pytest

from kube_api.access import SERVICE_ACCOUNT, Access, find_access


def test_a_kubeconfig_counts_more_than_what_every_pod_is_told():
    environment = {"KUBECONFIG": "/etc/kubeconfig", "KUBERNETES_SERVICE_HOST": "10.233.0.1"}

    assert find_access(environment) == (Path("/etc/kubeconfig"), [])


def test_a_pod_is_told_where_the_api_is():
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}

    access, wrong = find_access(environment)

    token, authority = SERVICE_ACCOUNT / "token", SERVICE_ACCOUNT / "ca.crt"
    assert (access, wrong) == (Access("fd00::1", 6443, authority=authority, token=token), [])
    assert str(access) == "Kubernetes API https://[fd00::1]:6443"


@pytest.mark.parametrize("environment", [{}, {"KUBECONFIG": "", "KUBERNETES_SERVICE_HOST": ""}])
def test_outside_kubernetes_there_is_none(environment):
    assert find_access(environment) == (None, [])


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"KUBECONFIG": "a"}, "KUBECONFIG: 'a' is not the full path of one file"),
        ({"KUBECONFIG": "/a:/b"}, "KUBECONFIG: '/a:/b' is not the full path of one file"),
        ({"KUBERNETES_SERVICE_HOST": "a b"}, "KUBERNETES_SERVICE_HOST: 'a b' is not a host"),
        (
            {"KUBERNETES_SERVICE_HOST": "a", "KUBERNETES_SERVICE_PORT": "tcp://a"},
            "KUBERNETES_SERVICE_PORT: 'tcp://a' is not a port",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_named(environment, text):
    assert find_access(environment) == (None, [text])
