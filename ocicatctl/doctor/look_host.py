"""Looks at the machine: kernel, programs, clock, disks, processes.

Edge: files, /proc, statvfs, the C library's adjtimex.
"""

import ctypes
import os
import platform
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ocicatctl.doctor.facts import Disk, Host
from ocicatctl.doctor.node_files import NodeFiles
from ocicatctl.doctor.settings import Settings

MODULES = ("ipip", "vxlan", "nf_tables", "nf_conntrack", "nft_masq")
PROGRAMS = ("nft", "bird", "python3")
_BIN = ("/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin")
_SYSCTLS = ("fs/inotify/max_user_instances", "fs/inotify/max_user_watches", "kernel/pid_max")
_UNSYNCHRONISED = 0x40  # STA_UNSYNC of <linux/timex.h>
_STATUS = slice(40, 44)  # of struct timex on 64 bits


def look_at_host(settings: Settings) -> Iterator[object]:
    """The machine as a whole."""
    files = NodeFiles(settings)
    release = platform.release()
    loaded, loadable, is_modular = _modules(files, release)
    ufw = files.text("/etc/ufw/ufw.conf") or ""
    yield Host(
        release=release,
        processes=frozenset(files.processes()),
        programs=frozenset(
            name
            for name in PROGRAMS
            if any(files.disk.is_program(f"{path}/{name}") for path in _BIN)
        ),
        modules=loaded,
        can_load=loadable,
        is_modular=is_modular,
        has_ufw="ENABLED=yes" in ufw,
        is_synchronised=_is_synchronised(),
        disks=tuple(_disks(settings, files)),
        sysctls={path: value for path in _SYSCTLS if (value := _sysctl(path))},
    )


def _modules(files: NodeFiles, release: str) -> tuple[frozenset[str], frozenset[str], bool]:
    """Those that are there, those that could be loaded, and whether the kernel tells at all."""
    try:
        lines = Path("/proc/modules").read_text().splitlines()
    except OSError:
        return frozenset(), frozenset(), False
    here = f"/lib/modules/{release}"

    def listed(name: str) -> set[str]:
        text = files.text(f"{here}/{name}") or ""
        paths = (line.partition(":")[0].strip() for line in text.splitlines())
        return {PurePosixPath(path).name.partition(".ko")[0].replace("-", "_") for path in paths}

    there = {line.partition(" ")[0] for line in lines} | listed("modules.builtin")
    return frozenset(there), frozenset(listed("modules.dep")), True


def _is_synchronised() -> bool | None:
    buffer = ctypes.create_string_buffer(512)  # modes 0: nothing is set
    state = ctypes.CDLL(None).adjtimex(buffer)
    if state < 0:
        return None
    return not int.from_bytes(buffer.raw[_STATUS], "little") & _UNSYNCHRONISED


def _disks(settings: Settings, files: NodeFiles) -> Iterator[Disk]:
    wanted = (settings.state_dir, settings.spool, settings.history)
    for path in dict.fromkeys(filter(None, wanted)):
        here = files.at(path)
        while not here.exists() and here != here.parent:
            here = here.parent
        found = os.statvfs(here)
        shares = [
            free / whole
            for free, whole in ((found.f_bavail, found.f_blocks), (found.f_favail, found.f_files))
            if whole
        ]
        yield Disk(path, found.f_bavail * found.f_frsize, min(shares, default=1.0))


def _sysctl(path: str) -> str:
    try:
        return Path("/proc/sys", path).read_text().strip()
    except OSError:
        return ""
