"""Reads and writes what is below /proc/sys, in the network namespace that the thread is in.

Edge: /proc/sys. Paths have slashes between their parts, so that an interface's name may have dots.
"""

import os

from kernel_api.rtnetlink import AF_INET, AF_INET6

_ROOT = "/proc/sys"


def read_sysctl(path: str) -> str:
    """The value of a sysctl."""
    fd = os.open(f"{_ROOT}/{path}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 256).decode().strip()
    finally:
        os.close(fd)


def write_sysctl(path: str, value: str) -> None:
    """Set a sysctl."""
    fd = os.open(f"{_ROOT}/{path}", os.O_WRONLY | os.O_CLOEXEC)
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
