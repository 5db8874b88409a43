import socket
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from cni_plugin.config import Config, make_parts, metered, read_config
from cni_plugin.health import Pulse
from cni_plugin.install import launcher
from datamodel.errors import Invalid
from kube_api.access import Access


def mistakes_of(**environment: str) -> str:
    with pytest.raises(Invalid) as caught:
        read_config(environment)
    return str(caught.value)


def test_without_settings_everything_has_its_usual_place():
    assert read_config({}) == Config(
        socket="/run/ocicat/cni.sock",
        ipam_socket="/run/ocicat/ipamd.sock",
        spool="/var/lib/ocicat/releases",
        add_timeout_s=10.0,
        del_timeout_s=15.0,
        log_level="INFO",
    )


def test_every_setting_is_read():
    config = read_config(
        {
            "OCICAT_CNI_SOCKET": "/a",
            "OCICAT_IPAM_SOCKET": "/b",
            "OCICAT_SPOOL_DIR": "/c",
            "OCICAT_ADD_TIMEOUT_S": "2.5",
            "OCICAT_DEL_TIMEOUT_S": "4",
            "OCICAT_LOG_LEVEL": "Warning",
            "OCICAT_CNI_METRICS": "127.0.0.1:9097",
            "KUBECONFIG": "/d",
        }
    )

    metrics = ("127.0.0.1", 9097)
    assert config == Config("/a", "/b", "/c", 2.5, 4.0, "WARNING", Path("/d"), metrics)


def test_without_credentials_nobody_is_asked_about_pods():
    assert make_parts(read_config({})).pods is None


def test_a_kubeconfig_may_come_later_and_is_asked_for_until_then(tmp_path):
    parts = make_parts(read_config({"KUBECONFIG": str(tmp_path / "none")}))

    assert parts.pods is not None


@pytest.mark.parametrize("has_token", [True, False])
def test_a_pod_asks_about_pods_if_it_has_a_token(tmp_path, has_token):
    if has_token:
        (tmp_path / "token").write_text("secret")
    where = Access("10.233.0.1", 443, token=tmp_path / "token")

    parts = make_parts(replace(read_config({}), kubernetes=where))

    assert (parts.pods is not None) is has_token


def test_a_process_of_its_own_asks_the_same_cluster_as_the_server():
    config = read_config({"KUBECONFIG": "/etc/ocicat/kubeconfig"})

    assert "'KUBECONFIG': '/etc/ocicat/kubeconfig'" in launcher(config)
    assert "KUBECONFIG" not in launcher(read_config({}))


def test_numbers_are_kept_only_if_somebody_reads_them():
    parts = make_parts(read_config({}))

    assert metered(parts, read_config({}), Pulse(60)) is parts


def test_a_place_for_numbers_that_is_taken_is_named():
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        config = read_config({"OCICAT_CNI_METRICS": where})

        with pytest.raises(Invalid, match=f"METRICS {where}: Address already in use"):
            metered(make_parts(config), config, Pulse(60))


def test_an_empty_setting_is_none():
    empty = dict.fromkeys(
        (
            "OCICAT_CNI_SOCKET",
            "OCICAT_IPAM_SOCKET",
            "OCICAT_SPOOL_DIR",
            "OCICAT_ADD_TIMEOUT_S",
            "OCICAT_DEL_TIMEOUT_S",
            "OCICAT_LOG_LEVEL",
            "OCICAT_CNI_METRICS",
            "KUBECONFIG",
            "KUBERNETES_SERVICE_HOST",
        ),
        "",
    )

    assert read_config(empty) == read_config({})


@pytest.mark.parametrize(
    "timeout", ["soon", "-1", "0", "0.0", "1,5", "1e3", "nan", "inf", ".", "1.2.3"]
)
@pytest.mark.parametrize("name", ["OCICAT_ADD_TIMEOUT_S", "OCICAT_DEL_TIMEOUT_S"])
def test_a_timeout_must_be_a_number_of_seconds(name, timeout):
    assert f"{name}: '{timeout}' is not a number of seconds" in mistakes_of(**{name: timeout})


def test_every_mistake_is_reported_at_once():
    text = mistakes_of(
        OCICAT_ADD_TIMEOUT_S="soon", OCICAT_LOG_LEVEL="loud", OCICAT_COLOUR="red", OCICAT_X="1"
    )

    assert text.startswith("configuration: ")
    for name in ("OCICAT_ADD_TIMEOUT_S", "OCICAT_LOG_LEVEL", "OCICAT_COLOUR", "OCICAT_X"):
        assert name in text


@pytest.mark.parametrize(
    ("name", "value"), [("OCICAT_CNI_METRICS", "9097"), ("KUBECONFIG", "kubeconfig")]
)
def test_a_place_that_is_none_is_named(name, value):
    assert f"{name}: '{value}' is not " in mistakes_of(**{name: value})


def test_settings_of_the_other_daemons_and_of_others_are_no_mistakes():
    read_config({"OCICAT_BIRD_CONFIG": "/x", "CNI_COMMAND": "ADD", "PATH": "/bin", "ocicat_x": "1"})
