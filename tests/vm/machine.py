"""A virtual machine in QEMU: booted, commanded through a virtio port, ended with its process.

Edge: qemu-system-x86_64(1), sockets. What is on the disk matters only in that its agent has to
serve the port (``guest/agent.py``). A machine has no network but the wires that it is plugged into
and never changes its image: what it writes goes to a file that QEMU has unlinked already, and is
there as long as QEMU runs, over reboots, too.
"""

import json
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datamodel.errors import Unavailable
from ocicatctl.lab.system import BASE_ENVIRONMENT
from tests.vm.image import Image

BOOT_TIMEOUT_S = 180.0
END_TIMEOUT_S = 10.0
READY = "ready"  # what the agent says first, as guest/agent.py does
_ANSWER_S = 15.0  # what a command's answer may take longer than the command
_TAIL_LINES = 40

# Emulated: works everywhere, inside other virtual machines too. rdrand: else the first program that
# wants random numbers waits for the kernel to collect some.
_MACHINE = "-accel tcg -machine pc -cpu qemu64,+rdrand -nodefaults -no-user-config -display none"
# On a busy host an emulated timer is too slow for the kernel's test of it. What QEMU translated for
# one process serves the next one only if it is at the same address there.
_KERNEL = "console=ttyS0 quiet no_timer_check norandmaps net.ifnames=0"


@dataclass(frozen=True, slots=True)
class Spec:
    """What a machine is made of. Its cards are in order: the first is ``eth0``."""

    name: str
    number: int  # in the cards' MAC addresses
    cards: Sequence[socket.socket]
    memory_mb: int


class Machine:
    """One machine, running from its making to ``stop``; whoever makes it waits with ``wait``."""

    def __init__(self, spec: Spec, image: Image, console: Path) -> None:
        """Start it; it is killed with the thread that does so.

        What its kernel and its process 1 say is written to *console*; at the Unix socket of that
        name with ``.socket`` behind one can take part.
        """
        self.name = spec.name
        self.boot_s = 0.0
        self._console = console
        self._begun = time.monotonic()
        self._port, agent = socket.socketpair()
        self._answers = self._port.makefile("rb")
        command = ["setpriv", "--pdeathsig=KILL", *_command(spec, image, console, agent)]
        self._process = subprocess.Popen(
            command,
            env=BASE_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[agent.fileno(), *(card.fileno() for card in spec.cards)],
        )
        for end in (agent, *spec.cards):
            end.close()  # QEMU has them

    def wait(self) -> None:
        """Wait until the agent is there.

        Raises:
            Unavailable: it is not in time, or the machine ended.
        """
        while self._receive(BOOT_TIMEOUT_S, "boot")[1] != READY:
            pass  # the command that reboots has answered before its machine ended
        self.boot_s = time.monotonic() - self._begun

    def reboot(self) -> None:
        """Shut it down and boot it again; return when the agent is there.

        Raises:
            Unavailable: it is not in time, or the machine ended.
        """
        self._send("systemctl", "reboot")  # the agent may be ended before it answers
        self._begun = time.monotonic()
        self.wait()

    def run(
        self,
        *command: str,
        environment: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        check: bool = True,
        timeout_s: float = 60.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; the next one waits for it.

        Raises:
            Unavailable: it failed (unless *check* is off), took too long, or the machine is gone.
        """
        line = " ".join(command)
        self._send(*command, environment=environment, stdin=stdin, timeout_s=timeout_s)
        status, stdout, stderr = self._receive(timeout_s + _ANSWER_S, line)
        if status is None:
            raise Unavailable(f"{self.name}: {line}: not over after {timeout_s:g} s: {stderr}")
        if check and status:
            raise Unavailable(f"{self.name}: {line}: exit status {status}: {stderr or stdout}")
        return subprocess.CompletedProcess(command, status, stdout, stderr)

    def _send(
        self,
        *command: str,
        environment: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        timeout_s: float = 60.0,
    ) -> None:
        request = {
            "command": command,
            "environment": {**BASE_ENVIRONMENT, **(environment or {})},
            "timeout_s": timeout_s,
            "stdin": len(stdin),
        }
        self._port.settimeout(timeout_s + _ANSWER_S)
        try:
            self._port.sendall(json.dumps(request).encode() + b"\n" + stdin)
        except OSError as error:
            raise self._gone(" ".join(command)) from error

    def _receive(self, timeout_s: float, what: str) -> tuple[int | None, str, str]:
        self._port.settimeout(timeout_s)
        try:
            head = json.loads(self._answers.readline())
            stdout, stderr = (self._answers.read(head[name]) for name in ("stdout", "stderr"))
        except (OSError, ValueError) as error:
            raise self._gone(what) from error
        return head["status"], stdout.decode(), stderr.decode()

    def _gone(self, what: str) -> Unavailable:
        try:
            said, _ = self._process.communicate(timeout=1)  # if it is ending, it has that long
            why = f"QEMU ended: {said.decode().strip() or self._process.returncode}"
        except subprocess.TimeoutExpired:
            why = "no answer"
        return Unavailable(f"{self.name}: {what}: {why}; its console said:\n{self.console_tail()}")

    def console_tail(self) -> str:
        """The last that the console showed."""
        if not self._console.exists():
            return ""
        lines = self._console.read_text(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])

    def stop(self) -> None:
        """Switch it off; there is nothing on its disk to be saved."""
        self._process.kill()
        self._process.wait(END_TIMEOUT_S)
        self._answers.close()
        self._port.close()
        if self._process.stdout:
            self._process.stdout.close()


def _command(spec: Spec, image: Image, console: Path, agent: socket.socket) -> list[str]:
    command = ["qemu-system-x86_64", *_MACHINE.split()]
    command += ["-name", spec.name, "-m", str(spec.memory_mb), "-serial", "chardev:console"]
    shell = f"path={console}.socket,server=on,wait=off,logfile={console}"
    command += ["-chardev", f"socket,id=console,{shell}"]
    command += ["-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", _KERNEL]
    drive = f"if=virtio,format=raw,snapshot=on,cache=unsafe,file={image.disk}"
    command += ["-drive", drive]
    command += ["-chardev", f"socket,id=agent,fd={agent.fileno()}", "-device", "virtio-serial-pci"]
    command += ["-device", "virtserialport,chardev=agent,name=ocicat.agent"]
    for i, card in enumerate(spec.cards):
        command += ["-netdev", f"dgram,id=wire{i},local.type=fd,local.str={card.fileno()}"]
        mac = f"52:54:00:00:{i:02x}:{spec.number:02x}"
        command += ["-device", f"virtio-net-pci,netdev=wire{i},mac={mac},romfile="]
    return command
