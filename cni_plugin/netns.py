"""Network namespaces: telling what a file descriptor is, and working inside one.

Edge: setns(2), ioctl. A thread is in exactly one namespace; a forked child for each, as some do it,
can deadlock beside gRPC's threads.
"""

import ctypes
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000
NS_GET_NSTYPE = 0xB703  # ioctl of <linux/nsfs.h>: the CLONE_ flag of a namespace's kind

_libc = ctypes.CDLL(None, use_errno=True)


def is_netns(fd: int) -> bool:
    """Tell whether *fd* is a network namespace (and not, say, a file or a user namespace)."""
    try:
        return fcntl.ioctl(fd, NS_GET_NSTYPE) == CLONE_NEWNET
    except OSError:
        return False


def is_own(fd: int) -> bool:
    """Tell whether *fd* is the namespace that the calling thread is in."""
    with open("/proc/thread-self/ns/net", "rb") as own:
        return os.path.samestat(os.fstat(fd), os.fstat(own.fileno()))


@contextmanager
def entered(fd: int) -> Iterator[None]:
    """Be in the namespace *fd* within the block; other threads stay where they are."""
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(fd)
        try:
            yield
        finally:
            _setns(back)
    finally:
        os.close(back)


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
