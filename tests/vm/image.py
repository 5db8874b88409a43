"""Builds what guests boot: Debian's cloud kernel, and a disk with Debian and Ocicat.

Edge: files, mke2fs(1), modprobe(1). ``python -m tests.vm.image`` builds. What was built is kept
until something that it is made of changes; ``tools/setup-vm`` puts the kernel into the same cache.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ocicatctl.lab.system import BASE_ENVIRONMENT
from tests.vm import debian

CACHE = Path(os.environ.get("OCICAT_VM_CACHE") or Path.home() / ".cache/ocicat-vm")
DISK_SIZE = "4G"  # a file with holes: what is free on it costs nothing
KEPT_S = 24 * 3600  # what nobody used for so long is removed when a new one is built
_NEEDED = ("qemu-system-x86_64", "mke2fs", "modprobe", "mmdebstrap", "busybox")
_BOOT_MODULES = ("virtio_pci", "virtio_blk", "ext4")  # the rest is loaded from the disk


@dataclass(frozen=True, slots=True)
class Image:
    """What a machine boots from. Machines never write to it, so many may share one."""

    kernel: Path
    initrd: Path
    disk: Path


def missing() -> str:
    """Why there can be no machines on this host; "" if there can."""
    path = BASE_ENVIRONMENT["PATH"]
    absent = [program for program in _NEEDED if not shutil.which(program, path=path)]
    if not (CACHE / "kernel").exists():
        absent.append(str(CACHE / "kernel"))
    return f"{', '.join(absent)}: not found; tools/setup-vm installs it" if absent else ""


def build() -> Image:
    """The image of this checkout as it is now, from the cache if it is there."""
    [modules] = (CACHE / "kernel/lib/modules").iterdir()
    kernel = CACHE / "kernel/boot" / f"vmlinuz-{modules.name}"

    def write_base(made: Path, _: Path) -> None:
        debian.write_base(made / "root.tar")

    def write_image(made: Path, scratch: Path) -> None:
        base = _cached("debian", debian.base_key(), write_base)
        debian.write_root(scratch / "root", base / "root.tar", modules)
        # Journalled: a machine that is switched off must boot again.
        _run("mke2fs", "-q", "-t", "ext4", "-d", scratch / "root", made / "disk", DISK_SIZE)
        _write_initrd(made / "initrd", scratch / "boot", modules)

    image = _cached("images", f"{debian.root_key()}-{modules.name}", write_image)
    return Image(kernel, image / "initrd", image / "disk")


def _cached(kind: str, key: str, write: Callable[[Path, Path], None]) -> Path:
    """The directory that *write* makes, once for every *key*."""
    target = CACHE / kind / key
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        for path in target.parent.iterdir():
            if path.stat().st_mtime < time.time() - KEPT_S:
                shutil.rmtree(path)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="new-") as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            write(made, Path(scratch))
            made.rename(target)
    os.utime(target)
    return target


def _write_initrd(initrd: Path, boot: Path, modules: Path) -> None:
    """What the kernel starts with: the modules for its disk, in order, and a shell."""
    for name in ("bin", "dev", "modules", "proc", "root"):
        (boot / name).mkdir(parents=True)
    shutil.copy2(shutil.which("busybox") or "busybox", boot / "bin/busybox")
    shutil.copy2(debian.GUEST / "boot.sh", boot / "init")
    tree = ("-d", modules.parents[2], "-S", modules.name)
    listing = _run("modprobe", *tree, "--show-depends", "-a", *_BOOT_MODULES)
    paths = [line.split()[1] for line in listing.splitlines() if line.startswith("insmod")]
    for number, path in enumerate(dict.fromkeys(paths)):
        shutil.copy2(path, boot / "modules" / f"{number:02}-{Path(path).name}")
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
