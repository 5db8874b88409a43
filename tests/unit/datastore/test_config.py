from pathlib import Path

import pytest

from datastore.config import EtcdConfig, etcd_config

TLS = {
    "ETCD_ENDPOINTS": "https://10.0.0.1:2379",
    "ETCD_CA_CERT_FILE": "/pki/ca.pem",
    "ETCD_CERT_FILE": "/pki/client.pem",
    "ETCD_KEY_FILE": "/pki/client-key.pem",
}


def mistakes(**environment: str) -> list[str]:
    return etcd_config(environment)[1]


def test_without_settings_etcd_is_on_this_machine():
    assert etcd_config({}) == (EtcdConfig(endpoints=("http://127.0.0.1:2379",)), [])


def test_every_setting_is_read():
    config, found = etcd_config({**TLS, "ETCD_USERNAME": "ocicat", "ETCD_PASSWORD": "secret"})

    assert found == []
    assert config == EtcdConfig(
        endpoints=("https://10.0.0.1:2379",),
        ca_cert_file=Path("/pki/ca.pem"),
        cert_file=Path("/pki/client.pem"),
        key_file=Path("/pki/client-key.pem"),
        username="ocicat",
        password="secret",
    )


def test_a_password_does_not_appear_in_a_log():
    assert "secret" not in repr(EtcdConfig(username="ocicat", password="secret"))


def test_endpoints_are_separated_by_commas():
    config, found = etcd_config(
        {"ETCD_ENDPOINTS": " http://a.example:1, http://[fd00::1]:2379/,http://a.example:1,"}
    )

    assert found == []
    assert config.endpoints == ("http://a.example:1", "http://[fd00::1]:2379")


def test_empty_settings_count_as_unset():
    environment = dict.fromkeys([*TLS, "ETCD_USERNAME", "ETCD_PASSWORD"], "")

    assert etcd_config(environment) == (EtcdConfig(), [])


@pytest.mark.parametrize(
    "endpoint",
    [
        "foo",
        "10.0.0.1:2379",
        "http://10.0.0.1",
        "http://10.0.0.1:http",
        "http://10.0.0.1:99999",
        "http://10.0.0.1:0",
        "http://:2379",
        "http://[::1:2379",
        "http://me:secret@10.0.0.1:2379",
        "http://10.0.0.1:2379/v3",
        "http://10.0.0.1:2379?x=y",
        "etcd://10.0.0.1:2379",
        "unix:///run/etcd.sock",
    ],
)
def test_what_is_no_endpoint_is_said_so(endpoint):
    assert mistakes(ETCD_ENDPOINTS=f"http://10.0.0.2:2379,{endpoint}") == [
        f"ETCD_ENDPOINTS: {endpoint!r} is not http(s)://host:port"
    ]


def test_no_endpoint_at_all_is_a_mistake():
    assert mistakes(ETCD_ENDPOINTS=" , ") == ["ETCD_ENDPOINTS: ' , ' names no endpoint"]


def test_http_and_https_do_not_mix():
    assert mistakes(ETCD_ENDPOINTS="http://a:1,https://b:2") == [
        "ETCD_ENDPOINTS: http and https are mixed; use one of them for all"
    ]


@pytest.mark.parametrize(
    ("alone", "missing"),
    [
        ("ETCD_CERT_FILE", "ETCD_KEY_FILE"),
        ("ETCD_KEY_FILE", "ETCD_CERT_FILE"),
        ("ETCD_USERNAME", "ETCD_PASSWORD"),
        ("ETCD_PASSWORD", "ETCD_USERNAME"),
    ],
)
def test_half_a_pair_is_a_mistake(alone, missing):
    assert mistakes(ETCD_ENDPOINTS="https://a:1", **{alone: "x"}) == [
        f"{alone}: is set without {missing}; set both or none"
    ]


def test_certificates_that_would_not_be_used_are_a_mistake():
    assert mistakes(ETCD_CA_CERT_FILE="/pki/ca.pem") == [
        "ETCD_CA_CERT_FILE: is set, but ETCD_ENDPOINTS are not https; TLS would not be used"
    ]


def test_all_mistakes_are_told_at_once():
    found = mistakes(ETCD_ENDPOINTS="foo,bar", ETCD_KEY_FILE="k", ETCD_PASSWORD="p")

    assert len(found) == 5
