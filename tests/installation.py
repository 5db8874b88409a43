"""A node's file system in a directory, before and after Ocicat is installed on it."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from ocicatctl.install import conflist
from ocicatctl.install.disk import Disk
from ocicatctl.install.wanted import CALICO_LAUNCHERS, LAUNCHERS, Directories, File, files

STATE = "/var/lib/ocicat"
RECORD = f"{STATE}/installed.json"
TEMPLATE = Path(conflist.__file__).with_name(conflist.NAME).read_text()
CONFLIST = "/etc/cni/net.d/10-ocicat.conflist"
NETWORK_MANAGER = "/etc/NetworkManager/conf.d/zz-ocicat.conf"
NETWORKD = "/etc/systemd/network/05-ocicat.network"
UDEV = "/etc/systemd/network/05-ocicat.link"
ENVIRONMENT = "/etc/ocicat/ocicat.env"
OCICAT, OCICAT_IPAM = (f"/opt/cni/bin/{name}" for name in LAUNCHERS)
CALICO, CALICO_IPAM = (f"/opt/cni/bin/{name}" for name in CALICO_LAUNCHERS)
DROP_INS = (NETWORK_MANAGER, NETWORKD, UDEV)


def a_disk(root: Path) -> Disk:
    """A node of its own, with an interpreter; what is executed there runs on this machine's."""
    put(root, "/usr/bin/python3", "#!/bin/sh\n", 0o755)
    (root / "var/lib").mkdir(parents=True, exist_ok=True)
    return Disk(root, STATE)


def wanted(
    script: str, *, mtu: str = "0", for_calico: bool = False, units: Sequence[File] = ()
) -> tuple[File, ...]:
    """What is installed, with the real template."""
    return files(
        Directories(),
        LAUNCHERS + CALICO_LAUNCHERS if for_calico else LAUNCHERS,
        script,
        conflist.render(TEMPLATE, {"CNI_MTU": mtu}),
        units,
    )


def put(root: Path, path: str, content: str, mode: int = 0o644) -> Path:
    """Write a file as an operator does."""
    here = root / path.lstrip("/")
    here.parent.mkdir(parents=True, exist_ok=True)
    here.write_text(content)
    here.chmod(mode)
    return here


def snapshot(root: Path, *, with_identity: bool = True) -> dict[str, tuple]:
    """Everything below *root*: kind, mode, owner and content.

    With identity also inode and time of what is no directory: a file that was put back is the very
    same, one that was not touched is so too.
    """
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = path.read_bytes()
        has_identity = with_identity and not stat.S_ISDIR(status.st_mode)
        identity = (status.st_ino, status.st_mtime_ns, status.st_nlink) if has_identity else ()
        found["/" + str(path.relative_to(root))] = (
            *(stat.filemode(status.st_mode), status.st_uid, status.st_gid),
            *(content, *identity),
        )
    return found
