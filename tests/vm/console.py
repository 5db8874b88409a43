"""``python -m tests.vm.console n1``: this terminal becomes a machine's console, until Ctrl-].

Edge: the terminal, sockets. Root is logged in there already.
"""

import os
import select
import socket
import sys
import termios
import tty

from tests.vm.image import CACHE

CONSOLES = CACHE / "lab"  # where ``make lab-vm`` has its machines' consoles
_END = b"\x1d"


def main(name: str) -> int:
    """Pass on what is typed and shown."""
    path = CONSOLES / f"{name}.console.socket"
    machine = socket.socket(socket.AF_UNIX)
    try:
        machine.connect(str(path))
    except OSError as error:
        known = ", ".join(p.name.partition(".")[0] for p in sorted(CONSOLES.glob("*.socket")))
        sys.stderr.write(f"{path}: {error.strerror}; machines that run: {known or 'none'}\n")
        return 1
    sys.stderr.write("Ctrl-] leaves; Enter shows the prompt\n")
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0)
        _pass_on(machine)
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        machine.close()
    return 0


def _pass_on(machine: socket.socket) -> None:
    while True:
        ready, _, _ = select.select([0, machine], [], [])
        if 0 in ready:
            typed = os.read(0, 4096)
            if not typed or _END in typed:
                return
            machine.sendall(typed)
        if machine in ready:
            shown = machine.recv(65536)
            if not shown:
                return
            os.write(1, shown)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
