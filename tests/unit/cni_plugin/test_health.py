"""Whether the CNI server says that an ADD could be served. (Of a whole node: tests/lab.)"""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from cni_plugin.health import Pulse, unreadiness
from datamodel.errors import Unavailable
from ipam_api import ipam_pb2
from ipam_api.client import IpamClient
from tests.fake_ipamd import FakeIpamd, serving


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "cni.sock")


@pytest.fixture
def listener(path) -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as listener:
        listener.bind(path)
        listener.listen(1)
        yield listener


@pytest.fixture
def accepting(listener) -> None:
    """Somebody who hangs up on the first who calls."""
    threading.Thread(target=lambda: listener.accept()[0].close()).start()


@pytest.fixture
def ipam(tmp_path) -> Iterator[IpamClient]:
    with closing(IpamClient(str(tmp_path / "ipamd.sock"))) as client:
        yield client


def test_who_accepts_and_has_an_ipamd_that_gives_out_addresses_is_ready(
    path, accepting, ipam, tmp_path
):
    with serving(FakeIpamd(), tmp_path / "ipamd.sock"):
        assert unreadiness(path, ipam) == ""


def test_what_ipamd_waits_for_is_told(path, accepting, ipam, tmp_path):
    ipamd = FakeIpamd()
    ipamd.answers["Status"] = ipam_pb2.StatusResponse(waits_for="etcd does not answer")

    with serving(ipamd, tmp_path / "ipamd.sock"):
        assert unreadiness(path, ipam) == "etcd does not answer"


def test_an_ipamd_that_is_not_there_is_named(path, accepting, ipam):
    with pytest.raises(Unavailable, match=r"ipamd\.sock: does not answer"):
        unreadiness(path, ipam)


def test_a_server_that_does_not_listen_is_named(path, ipam):
    assert unreadiness(path, ipam) == f"{path}: takes no call (No such file or directory)"


def test_a_server_that_listens_and_does_not_get_to_it_is_named(path, listener, ipam):
    assert unreadiness(path, ipam) == f"{path}: takes no call (timed out)"


def test_a_loop_that_goes_round_is_alive():
    pulse = Pulse(60)

    pulse.beat()

    assert pulse.check() == ""


def test_a_loop_that_does_not_is_told():
    assert Pulse(-1).check() == "no call was accepted for 0 s"
