from pathlib import Path

import pytest

from datamodel.environment import OURS
from datamodel.errors import Invalid
from datastore.config import EtcdConfig
from route_distributor.config import Config, distributor_config


def test_nothing_has_to_be_set():
    assert distributor_config({}, "Node-1") == Config(
        node="node-1",
        etcd=EtcdConfig(),
        bird_config=Path("/run/ocicat/bird.conf"),
        bird_socket=Path("/run/ocicat/bird.ctl"),
        status_file=Path("/run/ocicat/routes.json"),
        secrets_dir=Path("/etc/ocicat/secrets"),
        router_id="",
        free_addresses="blackhole",
        metrics=None,
        log_level="INFO",
    )


def test_every_setting_is_used():
    config = distributor_config(
        {
            "NODENAME": "Rack_1.node-2",
            "ETCD_ENDPOINTS": "http://10.0.0.2:2379",
            "OCICAT_BIRD_CONFIG": "/tmp/b.conf",
            "OCICAT_BIRD_SOCKET": "/tmp/b.ctl",
            "OCICAT_ROUTES_STATUS": "/tmp/r.json",
            "OCICAT_SECRETS_DIR": "/tmp/s",
            "OCICAT_FREE_ADDRESSES": "unreachable",
            "OCICAT_ROUTES_METRICS": "[::1]:9099",
            "CALICO_ROUTER_ID": "hash",
            "OCICAT_LOG_LEVEL": "debug",
        },
        "ignored",
    )

    assert config == Config(
        node="Rack_1.node-2",
        etcd=EtcdConfig(endpoints=("http://10.0.0.2:2379",)),
        bird_config=Path("/tmp/b.conf"),
        bird_socket=Path("/tmp/b.ctl"),
        status_file=Path("/tmp/r.json"),
        secrets_dir=Path("/tmp/s"),
        router_id="hash",
        free_addresses="unreachable",
        metrics=("::1", 9099),
        log_level="DEBUG",
    )


def test_an_empty_variable_counts_as_unset():
    names = ("NODENAME", "CALICO_ROUTER_ID", *OURS)

    assert distributor_config(dict.fromkeys(names, ""), "a") == distributor_config({}, "a")


def test_every_mistake_is_named_at_once():
    environment = {
        "NODENAME": "node/1",
        "ETCD_ENDPOINTS": "10.0.0.2",
        "OCICAT_BIRD_CONFIG": "bird.conf",
        "OCICAT_BIRD_SOCKET": "bird.ctl",
        "OCICAT_ROUTES_STATUS": "routes.json",
        "OCICAT_SECRETS_DIR": "secrets",
        "OCICAT_FREE_ADDRESSES": "drop",
        "OCICAT_ROUTES_METRICS": "9099",
        "CALICO_ROUTER_ID": "0.0.0.0",
        "OCICAT_LOG_LEVEL": "loud",
        "OCICAT_BIRD_CONFG": "/tmp/b.conf",
    }

    with pytest.raises(Invalid) as caught:
        distributor_config(environment, "a")

    assert [name for name in environment if name not in str(caught.value)] == []


@pytest.mark.parametrize("text", ["10.0.0.1", "hash", "1.2.3.4"])
def test_a_router_id_is_an_address_or_hash(text):
    assert distributor_config({"CALICO_ROUTER_ID": text}, "a").router_id == text


@pytest.mark.parametrize("text", ["Hash", "fd00::1", "0.0.0.0", "1", "10.0.0.1/24", "a b"])
def test_what_is_no_router_id_is_refused(text):
    with pytest.raises(Invalid, match="CALICO_ROUTER_ID"):
        distributor_config({"CALICO_ROUTER_ID": text}, "a")
