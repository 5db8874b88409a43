import base64
from pathlib import Path

import pytest
import yaml

from datamodel.errors import Invalid
from kube_api.access import Access
from kube_api.kubeconfig import parse_kubeconfig

HERE = Path("/etc/cni/net.d")
CA, CERTIFICATE = b"-----BEGIN CERTIFICATE-----\n", b"-----BEGIN CERTIFICATE-----\nours\n"

# As Calico's installer writes it.
CALICOS = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [
        {
            "name": "local",
            "cluster": {
                "server": "https://10.233.0.1:443",
                "certificate-authority-data": base64.b64encode(CA).decode(),
            },
        }
    ],
    "users": [{"name": "calico", "user": {"token": "secret"}}],
    "contexts": [{"name": "calico-context", "context": {"cluster": "local", "user": "calico"}}],
    "current-context": "calico-context",
}


def read(cluster=None, user=None, **more) -> Access:
    document = {
        **CALICOS,
        "clusters": [{"name": "local", "cluster": cluster or CALICOS["clusters"][0]["cluster"]}],
        "users": [{"name": "calico", "user": user or {}}],
        **more,
    }
    return parse_kubeconfig(yaml.safe_dump(document).encode(), HERE)


def mistakes(*arguments, **more) -> str:
    with pytest.raises(Invalid) as caught:
        read(*arguments, **more)
    return str(caught.value)


def test_calicos_own_kubeconfig_is_read():
    access = parse_kubeconfig(yaml.safe_dump(CALICOS).encode(), HERE)

    assert access == Access("10.233.0.1", 443, authority=CA, token=b"secret")
    assert str(access) == "Kubernetes API https://10.233.0.1:443"


def test_kubelets_kubeconfig_names_one_file_for_certificate_and_key():
    pem = "/var/lib/kubelet/pki/kubelet-client-current.pem"

    access = read(user={"client-certificate": pem, "client-key": pem})

    assert (access.certificate, access.key, access.token) == (Path(pem), Path(pem), None)


def test_files_are_relative_to_the_kubeconfig():
    cluster = {"server": "https://api:6443", "certificate-authority": "pki/ca.crt"}

    access = read(cluster, {"tokenFile": "token"})

    assert (access.authority, access.token) == (HERE / "pki/ca.crt", HERE / "token")


def test_what_stands_in_the_kubeconfig_counts_more_than_a_file():
    data = base64.b64encode(CERTIFICATE).decode()
    user = {
        "client-certificate": "c",
        "client-certificate-data": data,
        "client-key-data": data,
    }

    access = read(user=user)

    assert (access.certificate, access.key) == (CERTIFICATE, CERTIFICATE)


@pytest.mark.parametrize(
    ("server", "host", "port", "prefix"),
    [
        ("https://api.example.org", "api.example.org", 443, ""),
        ("https://[fd00::1]:6443/", "fd00::1", 6443, ""),
        ("http://127.0.0.1:8080", "127.0.0.1", 8080, ""),
        ("http://localhost", "localhost", 80, ""),
        ("https://rancher/k8s/clusters/c-1", "rancher", 443, "/k8s/clusters/c-1"),
    ],
)
def test_the_server_is_a_url(server, host, port, prefix):
    access = read({"server": server})

    assert (access.host, access.port, access.prefix) == (host, port, prefix)
    assert access.is_tls is server.startswith("https")


def test_verification_may_be_waived_and_another_name_be_expected():
    cluster = {"server": "https://a", "insecure-skip-tls-verify": True, "tls-server-name": "b"}

    access = read(cluster)

    assert (access.is_verified, access.server_name) == (False, "b")


def test_without_a_user_nothing_is_shown():
    access = read(contexts=[{"name": "calico-context", "context": {"cluster": "local"}}])

    assert (access.token, access.certificate) == (None, None)


@pytest.mark.parametrize(
    ("cluster", "user", "text"),
    [
        ({"server": "10.0.0.1:6443"}, None, "server: '10.0.0.1:6443' is not a URL"),
        ({"server": "https://a b"}, None, "server: 'https://a b' is not a URL"),
        ({"server": "https://a:x"}, None, "server: 'https://a:x' is not a URL"),
        ({"server": "https://a/?x\r\nHost: b"}, None, "is not a URL"),
        ({"server": "ftp://a"}, None, "is not a URL"),
        ({"server": 1}, None, "server: is not text"),
        ({"server": "https://a", "proxy-url": "http://b"}, None, "proxy-url: is not served"),
        (None, {"exec": {"command": "aws"}}, "exec: is not served; use a token or a client"),
        (None, {"auth-provider": {"name": "gcp"}}, "auth-provider: is not served"),
        (None, {"username": "admin", "password": "x"}, "username: is not served"),
        (None, {"client-certificate": "c"}, "client-certificate and client-key: one is missing"),
        (None, {"client-key-data": "%"}, "client-key-data: is not base64"),
        (None, {"token": 12}, "token: is not text"),
    ],
)
def test_a_mistake_is_named(cluster, user, text):
    assert text in mistakes(cluster, user)


def test_every_mistake_is_named_at_once():
    text = mistakes({"server": "x"}, {"exec": {"command": "aws"}, "token": 1})

    assert [word in text for word in ("server", "exec", "token")] == [True] * 3


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"current-context": "other"}, "contexts: has no context 'other'"),
        ({"current-context": None}, "contexts: has no context None"),
        ({"clusters": []}, "clusters: has no cluster 'local'"),
        ({"users": None}, "users: has no user 'calico'"),
        ({"clusters": [1, {"name": "local", "cluster": 2}]}, "clusters: has no cluster 'local'"),
    ],
)
def test_what_the_context_names_must_be_there(more, text):
    assert mistakes(**more).startswith(text)


@pytest.mark.parametrize("text", [b"", b"[]", b"a: b: c", b"\xff\xfe\xff", b"\0"])
def test_what_is_no_kubeconfig_is_told(text):
    with pytest.raises(Invalid, match=r"^is not (a kubeconfig|YAML)"):
        parse_kubeconfig(text, HERE)
