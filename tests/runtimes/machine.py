"""A node of the lab as a machine of its own: what runs here sees no other files or processes.

Edge: unshare(1), nsenter(1), mount(8). The machine is in the node's network namespace. Its ``/run``
has nothing but the lab, its ``/etc``, ``/opt`` and ``/var`` are the host's with every change kept
in memory, and process 1 is ours: with it goes everything that was ever started here.
"""

import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from ocicatctl.lab import system
from ocicatctl.lab.spec import NodeSpec

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0
CGROUPS = Path("/sys/fs/cgroup")

# Run with the lab's directory as $1 and an empty directory as $2. A process 1 that ignores SIGCHLD
# leaves no zombies of the orphans that it inherits.
_BOOT = """
set -e
mount -t tmpfs -o mode=755 machine "$2"
mkdir -p "$2/root$1" "$2/root/run/netns"
mount --bind "$1" "$2/root$1"
for name in etc opt var; do
  mkdir -p "$2/new/$name" "$2/work/$name"
  options="lowerdir=/$name,upperdir=$2/new/$name,workdir=$2/work/$name"
  mount -t overlay -o "$options" overlay "/$name"
done
for path in /etc/cni /opt/cni /var/lib/cni /var/lib/containerd /var/lib/containers; do
  mkdir -p "$path"
  mount -t tmpfs empty "$path"
done
mkdir /etc/cni/net.d /opt/cni/bin
echo 'nameserver 10.0.0.1' >/etc/resolv.new
mv /etc/resolv.new /etc/resolv.conf  # often a link to a file in the host's /run
umount --recursive --lazy /run/netns  # other namespaces' names are of no use here
mount --rbind "$2/root/run" /run
touch /run/booted
exec env --ignore-signal=CHLD sleep infinity
"""


class Machine:
    """One machine, running from its making to ``stop``."""

    def __init__(self, node: NodeSpec) -> None:
        self.node = node
        self.cgroup = f"ocicat-{node.namespace}"
        scratch = node.directory / "machine"
        scratch.mkdir()
        unshare = "unshare --mount --pid --fork --kill-child --mount-proc --propagation private"
        boot = ("sh", "-c", _BOOT, "boot", str(node.lab.directory), str(scratch))
        self._log = node.directory / "machine.log"
        self._unshare = self._start(*unshare.split(), *boot)
        try:
            system.wait_until(self._is_up, f"machine {node.name}: {self._log}", START_TIMEOUT_S)
        except BaseException:
            self.stop()
            raise

    def sees(self, container: str, home: "Machine") -> str:
        """Under which address a container of *home* comes here: NAT is on for other nodes."""
        return container if home is self else str(home.node.address.ip)

    def _is_up(self) -> bool:
        with contextlib.suppress(FileNotFoundError, IndexError):
            return self.path("/run/booted").exists()
        return False

    def _start(self, *command: str) -> int:
        return system.start(*command, namespace=self.node.namespace, environment={}, log=self._log)

    @property
    def _pid(self) -> int:
        """Process 1 of the machine, as the host numbers it."""
        children = Path(f"/proc/{self._unshare}/task/{self._unshare}/children")
        return int(children.read_text().split()[0])

    def path(self, inside: str) -> Path:
        """Where the host finds a file of the machine."""
        return Path(f"/proc/{self._pid}/root{inside}")

    def _enter(self, command: tuple[str, ...]) -> list[str]:
        return ["nsenter", f"--target={self._pid}", "--mount", "--net", "--pid", "--", *command]

    def run(
        self, *command: str, environment: Mapping[str, str] | None = None, check: bool = True
    ) -> str:
        """Run a command to its end; return what it printed.

        Raises:
            Unavailable: it failed, unless *check* is off.
        """
        done = system.run(*self._enter(command), environment=environment, check=check)
        return done.stdout

    def start(self, *command: str) -> int:
        """Start a daemon; what it prints goes to the machine's log.

        Returns:
            The id of the process that waits for the daemon, not of the daemon.
        """
        return self._start(*self._enter(command))

    def processes(self) -> dict[int, str]:
        """The command lines of all processes on the machine, by its own process ids."""
        found = {}
        for directory in self.path("/proc").iterdir():
            if directory.name.isdecimal():
                with contextlib.suppress(OSError):  # ended meanwhile
                    command = (directory / "cmdline").read_bytes().replace(b"\0", b" ")
                    found[int(directory.name)] = command.decode().strip()
        return found

    def mounts(self) -> list[str]:
        """Where something is mounted on the machine, sorted."""
        lines = self.path("/proc/1/mounts").read_text().splitlines()
        return sorted(line.split()[1] for line in lines)

    def cgroups(self) -> list[str]:
        """The cgroups that containers of the machine have, in every hierarchy, sorted."""
        return [group for group in self._cgroups() if not group.endswith(f"/{self.cgroup}")]

    def _cgroups(self) -> list[str]:
        """The same with their parents, each before what is below it."""
        hierarchies = (CGROUPS, *CGROUPS.iterdir())  # version 2 and version 1
        return sorted(
            folder for root in hierarchies for folder, _, _ in os.walk(root / self.cgroup)
        )

    def stop(self) -> None:
        """End every process; its mounts and files go with them."""
        system.signal_process(self._unshare, signal.SIGKILL)
        system.wait_until(
            lambda: not system.is_alive(self._unshare), f"end of {self.node.name}", STOP_TIMEOUT_S
        )
        for group in reversed(self._cgroups()):
            # Its processes are killed, but perhaps not yet gone.
            system.wait_until(lambda g=group: _removed(g), f"removal of {group}", STOP_TIMEOUT_S)


def _removed(cgroup: str) -> bool:
    try:
        os.rmdir(cgroup)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
