from pathlib import Path

import pytest

from datamodel.errors import Invalid
from datastore.config import EtcdConfig
from route_distributor.config import Config, distributor_config


def test_nothing_has_to_be_set():
    assert distributor_config({}, "Node-1") == Config(
        node="node-1",
        etcd=EtcdConfig(),
        bird_config=Path("/run/ocicat/bird.conf"),
        bird_socket=Path("/run/ocicat/bird.ctl"),
        log_level="INFO",
    )


def test_every_setting_is_used():
    config = distributor_config(
        {
            "NODENAME": "Rack_1.node-2",
            "ETCD_ENDPOINTS": "http://10.0.0.2:2379",
            "OCICAT_BIRD_CONFIG": "/tmp/b.conf",
            "OCICAT_BIRD_SOCKET": "/tmp/b.ctl",
            "OCICAT_LOG_LEVEL": "debug",
        },
        "ignored",
    )

    assert config == Config(
        node="Rack_1.node-2",
        etcd=EtcdConfig(endpoints=("http://10.0.0.2:2379",)),
        bird_config=Path("/tmp/b.conf"),
        bird_socket=Path("/tmp/b.ctl"),
        log_level="DEBUG",
    )


def test_an_empty_variable_counts_as_unset():
    names = ("NODENAME", "OCICAT_BIRD_CONFIG", "OCICAT_BIRD_SOCKET", "OCICAT_LOG_LEVEL")

    assert distributor_config(dict.fromkeys(names, ""), "a") == distributor_config({}, "a")


def test_every_mistake_is_named_at_once():
    environment = {
        "NODENAME": "node/1",
        "ETCD_ENDPOINTS": "10.0.0.2",
        "OCICAT_BIRD_CONFIG": "bird.conf",
        "OCICAT_BIRD_SOCKET": "bird.ctl",
        "OCICAT_LOG_LEVEL": "loud",
        "OCICAT_BIRD_CONFG": "/tmp/b.conf",
    }

    with pytest.raises(Invalid) as caught:
        distributor_config(environment, "a")

    assert [name for name in environment if name not in str(caught.value)] == []
