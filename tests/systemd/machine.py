"""A machine whose init is systemd, in namespaces of this one, with Ocicat's versions in /opt."""

import shutil
import signal
import subprocess
import sys
import sysconfig
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = {name.partition(".")[0] for name in PROJECT["tool"]["setuptools"]["packages"]}
PROGRAMS = PROJECT["project"]["scripts"]  # name -> "module:function"
# The distribution's, of our own version: units see it, whatever makes our .venv.
PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
NAMESPACES = ("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup")
BOOT_TIMEOUT_S = 60


class Machine:
    """Boots when it is made."""

    def __init__(self, directory: Path) -> None:
        self._opt = directory / "opt"
        for name in ("mounts", "opt/packages"):
            (directory / name).mkdir(parents=True)
        boot = Path(__file__).with_name("boot.sh")
        packages = sysconfig.get_path("purelib")  # of others
        self._unshare = subprocess.Popen(
            [
                *("unshare", *NAMESPACES, "--fork", "--kill-child"),
                *("sh", boot, directory / "mounts", self._opt, packages),
            ],
            start_new_session=True,
        )
        self.wait_for("systemctl", "is-active", "-q", "machine.target")

    def add_version(self, version: str) -> Path:
        """Put a version beside the others; return its directory, as seen from outside."""
        directory = self._opt / "ocicat" / version
        (directory / "bin").mkdir(parents=True)
        (directory / "bin/python3").symlink_to(f"/usr/bin/{PYTHON}")
        (directory / "pyvenv.cfg").write_text("home = /usr/bin\n")
        packages = directory / "lib" / PYTHON / "site-packages"
        packages.mkdir(parents=True)
        (packages / "others.pth").write_text("/opt/packages\n")
        for name in PACKAGES:
            shutil.copytree(ROOT / name, packages / name, ignore=_needless)
        for name, entry in PROGRAMS.items():
            module, _, function = entry.partition(":")
            program = directory / "bin" / name
            program.write_text(
                f"#!/opt/ocicat/{version}/bin/python3\n"
                f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n"
            )
            program.chmod(0o755)
        return directory

    @property
    def pid(self) -> int:
        """Its init, as we see it."""
        found = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children").read_text()
        return int(found)

    @property
    def root(self) -> Path:
        """Its file system."""
        return Path(f"/proc/{self.pid}/root")

    def command(self, *command: str) -> list[str]:
        """A command that runs another one there."""
        inside = [f"{option}=/proc/{self.pid}/ns/{_FILES[option]}" for option in NAMESPACES]
        path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin"
        return ["nsenter", *inside, "--", "env", "-i", path, *command]

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command there to its end."""
        line = self.command(*command)
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, (command, done.stdout, done.stderr)
        return done

    def put(self, path: str, content: str, mode: int = 0o644) -> None:
        """Write a file there."""
        here = self.root / path.lstrip("/")
        here.parent.mkdir(parents=True, exist_ok=True)
        here.write_text(content)
        here.chmod(mode)

    def wait_for(self, *command: str) -> None:
        """Wait until a command succeeds there."""
        deadline = time.monotonic() + BOOT_TIMEOUT_S
        while self._fails(*command):
            assert self._unshare.poll() is None, "the machine did not boot"
            assert time.monotonic() < deadline, command
            time.sleep(0.1)

    def _fails(self, *command: str) -> bool:
        try:
            return self.run(*command, check=False).returncode != 0
        except ValueError:
            return True  # it has no init yet

    def down(self) -> None:
        """End it, and with its namespaces all that is in them."""
        self._unshare.send_signal(signal.SIGKILL)  # its child is killed with it
        self._unshare.wait()


_FILES = {
    option: {"--mount": "mnt"}.get(option, option.removeprefix("--")) for option in NAMESPACES
}


_needless = shutil.ignore_patterns("__pycache__")
