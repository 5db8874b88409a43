"""ipamd as a user that may do nothing: no root, no capability, no group, no way to get any.

It has the credentials, the CNI server has the network; docs/etcd-access.md shows the unit.
"""

import os
import pwd
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.etcd_server import EtcdServer
from tests.ipamd_process import ROOT, IpamdProcess

USER = pwd.getpwnam("nobody")
STRANGER = pwd.getpwnam("daemon")
UNPRIVILEGED = (
    "--clear-groups",
    "--bounding-set=-all",
    "--inh-caps=-all",
    "--ambient-caps=-all",
    "--no-new-privs",
)


def as_user(user: pwd.struct_passwd, *command: str) -> list[str]:
    return [
        *("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", *UNPRIVILEGED, "--"),
        *command,
    ]


class Unprivileged(IpamdProcess):
    """Its directory is the user's; that of the socket it makes itself."""

    def __init__(self, endpoints: list[str]) -> None:
        super().__init__(endpoints)
        os.chown(self.directory, USER.pw_uid, USER.pw_gid)
        self.socket = str(self.directory / "run" / "ipamd.sock")
        self._environment["OCICAT_IPAM_SOCKET"] = self.socket

    def spawn(self) -> None:
        with open(self._log_path, "ab") as log:
            self.process = subprocess.Popen(
                as_user(USER, sys.executable, "-m", "ipamd"),
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )


@pytest.fixture(scope="module", autouse=True)
def _the_user_can_run_the_project() -> None:
    if os.getuid():
        pytest.skip("only root can become another user")
    command = as_user(USER, sys.executable, "-c", "import ipamd.__main__")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{USER.pw_name} cannot read Python or the project: {done.stderr[-200:]}")


@pytest.fixture(scope="module")
def ipamd(etcd: EtcdServer) -> Iterator[Unprivileged]:
    process = Unprivileged([etcd.endpoint])
    try:
        process.start()
        yield process
    finally:
        process.__exit__()


def status_of(process: IpamdProcess) -> dict[str, str]:
    text = Path(f"/proc/{process.process.pid}/status").read_text()
    return {
        name: value.strip()
        for name, _, value in (line.partition(":") for line in text.splitlines())
    }


def test_it_has_no_privilege_and_can_get_none(ipamd):
    status = status_of(ipamd)

    assert set(status["Uid"].split()) == {str(USER.pw_uid)}
    assert set(status["Gid"].split()) == {str(USER.pw_gid)}
    assert status["Groups"] == ""
    assert {int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert status["NoNewPrivs"] == "1"


def test_root_has_addresses_of_it_as_ever(ipamd):
    address = ipamd.allocate("c1")

    assert ipamd.release("c1") == [address]
    assert address in ipamd.log


def test_it_writes_its_history(ipamd):
    ipamd.allocate("c2")
    ipamd.release("c2")

    directory = ipamd.directory / "history"
    end = time.monotonic() + 10
    while not (directory.is_dir() and list(directory.iterdir())) and time.monotonic() < end:
        time.sleep(0.05)  # it collects what happened before it writes

    assert {path.stat().st_uid for path in (directory, *directory.iterdir())} == {USER.pw_uid}


def test_its_socket_is_for_root_and_itself_alone(ipamd):
    path = Path(ipamd.socket)

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_uid == path.parent.stat().st_uid == USER.pw_uid


@pytest.mark.parametrize("mode", [0o700, 0o755], ids=oct)
def test_another_user_cannot_reach_it(ipamd, mode):
    """Not even where an operator has opened the directory: the socket's own mode keeps it out."""
    program = "import socket, sys\nsocket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    directory = Path(ipamd.socket).parent
    ipamd.directory.chmod(0o755)
    directory.chmod(mode)

    command = as_user(STRANGER, sys.executable, "-c", program, ipamd.socket)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    directory.chmod(0o700)
    assert "PermissionError" in done.stderr


def test_it_ends_and_begins_again(ipamd):
    assert ipamd.kill(signal.SIGTERM) == 0

    ipamd.start()

    assert ipamd.allocate("c3")
    assert [path.name for path in Path(ipamd.socket).parent.iterdir()] == ["ipamd.sock"]


def test_root_makes_the_same_modes(etcd):
    process = IpamdProcess([etcd.endpoint], "node-of-root", address="192.0.2.9/24")
    process.socket = str(process.directory / "run" / "ipamd.sock")
    process._environment["OCICAT_IPAM_SOCKET"] = process.socket
    try:
        process.spawn()
        process.wait_until_serving()
        path = Path(process.socket)

        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        process.__exit__()


def test_the_route_distributor_says_which_capability_it_lacks():
    done = subprocess.run(
        ["setpriv", "--bounding-set=-net_admin", sys.executable, "-m", "route_distributor"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert done.returncode == 1
    assert (
        "cannot start: kernel: Operation not permitted; run this as root, or give it CAP_NET"
        in done.stderr
    )
    assert "Traceback" not in done.stderr
