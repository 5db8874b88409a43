"""Reads and writes what is below /proc/sys, in the network namespace that the thread is in.

Edge: /proc/sys. Paths have slashes between their parts, so that an interface's name may have dots.
A container has /proc/sys read-only, and nothing can be mounted over it: the node's ``net`` part is
mounted beside it then, and shows the thread's namespace there as well.
"""

import errno
import os

from kernel_api.rtnetlink import AF_INET, AF_INET6

_ROOT = "/proc/sys"
OF_NODE = "/host/proc/sys"  # what is written if the other is read-only


def read_sysctl(path: str) -> str:
    """The value of a sysctl."""
    fd = os.open(f"{_ROOT}/{path}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 256).decode().strip()
    finally:
        os.close(fd)


def write_sysctl(path: str, value: str, of_node: str = OF_NODE) -> None:
    """Set a sysctl."""
    try:
        _write(f"{_ROOT}/{path}", value)
    except OSError as error:
        if error.errno != errno.EROFS or not os.path.exists(f"{of_node}/{path}"):
            raise
        _write(f"{of_node}/{path}", value)


def _write(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def ensure_sysctl(path: str, value: str) -> None:
    """Set a sysctl, unless it is right: /proc/sys may be read-only."""
    if read_sysctl(path) != value:
        write_sysctl(path, value)


def has_ipv6() -> bool:
    """Whether the kernel has IPv6 at all: not if it was booted with ipv6.disable=1."""
    return os.path.exists(f"{_ROOT}/net/ipv6")


def families() -> tuple[int, ...]:
    """The families that can be listed: of one that it has not, the kernel lists another."""
    return (AF_INET, AF_INET6) if has_ipv6() else (AF_INET,)
