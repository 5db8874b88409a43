"""Builds what guests boot: Debian's cloud kernel, and a disk with this host's own programs.

Edge: files, mke2fs(1), modprobe(1). ``python -m tests.vm.image`` builds. What was built is kept
until something that it is made of changes; ``tools/setup-vm`` puts the kernel into the same cache.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ocicatctl.lab.system import BASE_ENVIRONMENT
from tests.vm import files

CACHE = Path(os.environ.get("OCICAT_VM_CACHE") or Path.home() / ".cache/ocicat-vm")
DISK_SIZE = "2G"  # a file with holes: what is free on it costs nothing
KEPT_S = 24 * 3600  # an image that nobody used for so long is removed when a new one is built
_GUEST = Path(__file__).parent / "guest"
_NEEDED = ("qemu-system-x86_64", "mke2fs", "modprobe", "ldd", *files.PROGRAMS)
_BOOT_MODULES = ("virtio_pci", "virtio_blk")  # the rest is loaded from the disk


@dataclass(frozen=True, slots=True)
class Image:
    """What a machine boots from. Machines never write to it, so many may share one."""

    kernel: Path
    initrd: Path
    disk: Path


def missing() -> str:
    """Why there can be no machines on this host; "" if there can."""
    absent = [program for program in _NEEDED if not files.find(program)]
    if not (CACHE / "kernel").exists():
        absent.append(str(CACHE / "kernel"))
    return f"{', '.join(absent)}: not found; tools/setup-vm installs it" if absent else ""


def build() -> Image:
    """The image of this host's files as they are now, from the cache if it is there."""
    [modules] = (CACHE / "kernel/lib/modules").iterdir()
    kernel = CACHE / "kernel/boot" / f"vmlinuz-{modules.name}"
    wanted = [*files.of_guest(), *_GUEST.iterdir(), Path(__file__), Path(files.__file__), kernel]
    target = CACHE / "images" / _fingerprint(wanted)
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        _remove_unused(target.parent)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="new-") as scratch:
            made = Path(scratch) / "image"
            made.mkdir()
            _write_disk(made / "disk", Path(scratch) / "root", modules)
            _write_initrd(made / "initrd", Path(scratch) / "boot", modules)
            made.rename(target)
    os.utime(target)
    return Image(kernel, target / "initrd", target / "disk")


def _fingerprint(paths: Sequence[Path]) -> str:
    """What changes when a file does. Times count too: Python's compiled files hold them."""
    digest = hashlib.sha256()
    for path in paths:
        status = path.stat()
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _remove_unused(images: Path) -> None:
    for path in images.iterdir():
        if path.stat().st_mtime < time.time() - KEPT_S:
            shutil.rmtree(path)


def _write_disk(disk: Path, root: Path, modules: Path) -> None:
    """The guest's file system: merged ``/usr``, this host's files, the kernel's modules."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for name in ("dev", "etc", "proc", "root", "run", "sys", "tmp", "var/lib"):
        (root / name).mkdir(parents=True)
    for path in files.of_guest():
        _copy(path, root / path.relative_to("/"))
    for path in _GUEST.iterdir():
        _copy(path, root / "usr/sbin" / path.name)
    for path in (Path(sys.executable), Path("/usr/sbin/python")):
        link = root / path.relative_to("/")
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(Path(sys.executable).resolve())
    _link_applets(root)
    shutil.copytree(modules, root / "lib/modules" / modules.name)
    options = ("-t", "ext4", "-O", "^has_journal", "-d", root)
    _run("mke2fs", "-q", *options, disk, DISK_SIZE)


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, target)


def _link_applets(root: Path) -> None:
    """busybox under every name that no other program has."""
    taken = {path.name for name in ("bin", "sbin") for path in (root / "usr" / name).iterdir()}
    for name in _run("busybox", "--list").split():
        if name not in taken:
            (root / "usr/bin" / name).symlink_to(files.find("busybox") or "busybox")


def _write_initrd(initrd: Path, boot: Path, modules: Path) -> None:
    """What the kernel starts with: the modules for its disk, in order, and a shell."""
    for name in ("bin", "dev", "modules", "proc", "root"):
        (boot / name).mkdir(parents=True)
    _copy(files.find("busybox") or Path("busybox"), boot / "bin/busybox")
    _copy(_GUEST / "boot.sh", boot / "init")
    tree = ("-d", modules.parents[2], "-S", modules.name)
    listing = _run("modprobe", *tree, "--show-depends", "-a", *_BOOT_MODULES)
    paths = [line.split()[1] for line in listing.splitlines() if line.startswith("insmod")]
    for number, path in enumerate(dict.fromkeys(paths)):
        _copy(Path(path), boot / "modules" / f"{number:02}-{Path(path).name}")
    names = "\n".join(str(path.relative_to(boot)) for path in sorted(boot.rglob("*")))
    with initrd.open("wb") as archive:
        subprocess.run(
            ["busybox", "cpio", "-o", "-H", "newc"],
            input=names.encode(),
            stdout=archive,
            stderr=subprocess.DEVNULL,
            cwd=boot,
            check=True,
        )


def _run(*command: str | Path) -> str:
    done = subprocess.run(
        list(map(str, command)), env=BASE_ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


if __name__ == "__main__":
    sys.stdout.write(f"{build()}\n")
