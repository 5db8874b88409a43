import pytest

from cni_plugin.config import Config, read_config
from datamodel.errors import Invalid


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
        }
    )

    assert config == Config("/a", "/b", "/c", 2.5, 4.0, "WARNING")


def test_an_empty_setting_is_none():
    empty = dict.fromkeys(
        (
            "OCICAT_CNI_SOCKET",
            "OCICAT_IPAM_SOCKET",
            "OCICAT_SPOOL_DIR",
            "OCICAT_ADD_TIMEOUT_S",
            "OCICAT_DEL_TIMEOUT_S",
            "OCICAT_LOG_LEVEL",
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


def test_settings_of_the_other_daemons_and_of_others_are_no_mistakes():
    read_config({"OCICAT_BIRD_CONFIG": "/x", "CNI_COMMAND": "ADD", "PATH": "/bin", "ocicat_x": "1"})
