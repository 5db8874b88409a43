"""Sysctls are written also where /proc/sys is read-only, as in every container."""

import subprocess
import sys

READ_ONLY = """
mount --bind /proc/sys/net "$1"
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
ip link set lo up
exec "$2" -c "$3" "${1%/net}"
"""
WRITE = """
import sys
from kernel_api.sysctl import read_sysctl, write_sysctl

write_sysctl("net/ipv4/conf/lo/rp_filter", "2", sys.argv[1])
print(read_sysctl("net/ipv4/conf/lo/rp_filter"))
"""


def in_a_container(of_node, program: str) -> subprocess.CompletedProcess[str]:
    """Run a program where /proc/sys is read-only, with the node's net part below *of_node*."""
    (of_node / "net").mkdir(parents=True)
    arguments = [str(of_node / "net"), sys.executable, program]
    return subprocess.run(
        ["unshare", "-mn", "sh", "-ec", READ_ONLY, "sh", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_the_node_has_beside_a_read_only_one_is_written(tmp_path):
    done = in_a_container(tmp_path / "sys", WRITE)

    assert (done.stdout, done.stderr) == ("2\n", "")


def test_without_it_the_read_only_one_is_named(tmp_path):
    done = in_a_container(tmp_path / "sys", WRITE.replace("sys.argv[1]", "'/nowhere'"))

    assert "Read-only file system: '/proc/sys/net/ipv4/conf/lo/rp_filter'" in done.stderr
