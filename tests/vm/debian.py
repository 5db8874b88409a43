"""Makes the file system of a guest: Debian from its packages, and Ocicat from wheels on it.

Edge: files, mmdebstrap(1), chroot(1), tools/wheels. Needs root. What differs from one machine to
another is not in it: that the lab says when the machine runs.
"""

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ocicatctl.lab.system import BASE_ENVIRONMENT
from tests.runtimes import rootfs

ROOT = Path(__file__).parents[2]
GUEST = Path(__file__).parent / "guest"
SHARE = Path("/usr/local/share/ocicat")  # in the guest: scripts, wheels, the image of pods
LIBRARY = Path("/usr/local/lib/ocicat-lab")  # in the guest: what drives containerd
NEXT_VERSION = "0.1.0.post1"  # the same program, for upgrades to it

SUITE = "bookworm"
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "libnss-systemd", "udev", "kmod", "procps"),
    *("iproute2", "iputils-ping", "nftables", "busybox-static", "python3", "python3-venv"),
    *("bird2", "containerd", "runc", "containernetworking-plugins", "etcd-server", "etcd-client"),
)
_UNREAD = ("doc", "locale", "man")  # below /usr/share
# Of the packages: what a lab's machine starts only as a role of it, and what wants a network.
_DISABLED = (
    *("bird.service", "etcd.service", "containerd.service"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"),
)
_ENABLED = ("systemd-networkd.service", "ocicat-agent.service", "ocicat-pods.service")
_CONTAINERD = f"""\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{rootfs.IMAGE}"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "/etc/cni/net.d"
"""


def base_key() -> str:
    """What changes when the base does."""
    return _digest(repr((SUITE, PACKAGES, _UNREAD)).encode())


def write_base(target: Path) -> None:
    """Debian with its packages, as a tar file. Takes minutes."""
    command = ["mmdebstrap", "--quiet", "--variant=apt", f"--include={','.join(PACKAGES)}"]
    command += ["--aptopt=Apt::Install-Recommends false"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _UNREAD]
    _run(*command, SUITE, target)  # from mmdebstrap's own choice of mirror


def root_key() -> str:
    """What changes when anything of ours does that is in the file system."""
    parts = [f"{path}\0{_digest(path.read_bytes())}" for path in sorted(_sources())]
    return _digest("\n".join([base_key(), *parts]).encode())


def _sources() -> Iterator[Path]:
    yield from GUEST.iterdir()
    yield ROOT / "tools/wheels"
    yield from Path(rootfs.__file__).parent.glob("[cr][ro][io]*.py*")
    yield from Path(__file__).parent.glob("[di]*.py")  # this file and image.py
    left_out = (":!tests", ":!bench", ":!tools", ":!docs")
    listing = _run("git", "-c", "safe.directory=*", "-C", ROOT, "ls-files", "--", *left_out)
    yield from (ROOT / name for name in listing.split() if (ROOT / name).is_file())


def write_root(root: Path, base: Path, modules: Path) -> None:
    """The guest's tree in the new directory *root*."""
    root.mkdir()
    _run("tar", "-x", "-C", root, "-f", base)
    shutil.copytree(modules, root / "lib/modules" / modules.name)
    share = root / SHARE.relative_to("/")
    shutil.copytree(ROOT / "deploy/provision", share / "provision")
    _run(ROOT / "tools/wheels", share / "wheels")
    _run(ROOT / "tools/wheels", share / "next", NEXT_VERSION)
    rootfs.write_image(share / "pod.tar")
    _write_library(root / LIBRARY.relative_to("/"))
    (root / "etc/containerd").mkdir(exist_ok=True)
    (root / "etc/containerd/config.toml").write_text(_CONTAINERD)
    for unit in GUEST.glob("*.service"):
        shutil.copy(unit, root / "etc/systemd/system")
    shell = root / "etc/systemd/system/serial-getty@ttyS0.service.d/lab.conf"
    shell.parent.mkdir()
    shell.write_text(
        "[Service]\nExecStart=\nExecStart=-/sbin/agetty -a root -L ttyS0 115200 linux\n"
    )
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (root / "etc/machine-id").write_text("")
    for wheels in ("wheels", "next"):
        settings = ("STEP=prepare", f"WHEELS={SHARE / wheels}")
        _inside(root, "env", *settings, str(SHARE / "provision/node.sh"))
    _inside(root, "systemctl", "-q", "disable", *_DISABLED)
    _inside(root, "systemctl", "-q", "enable", *_ENABLED)


def _write_library(target: Path) -> None:
    """The stand-in for a kubelet, and the client of CRI that it uses."""
    (target / "tests/runtimes").mkdir(parents=True)
    for path in Path(rootfs.__file__).parent.glob("cri*.py"):
        shutil.copy(path, target / "tests/runtimes")
    for path in GUEST.glob("*.py"):
        shutil.copy(path, target)


def _inside(root: Path, *command: str) -> None:
    _run("chroot", root, *command)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _run(*command: str | Path) -> str:
    done = subprocess.run(
        list(map(str, command)), env=BASE_ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout
