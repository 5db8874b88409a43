"""Which machine this is: the kernel that runs, and the installation on its disk.

Edge: files below /proc and /etc.
"""

import os
import re
from pathlib import Path

from datamodel.attachment import Kernel
from datamodel.claim import Machine
from datamodel.errors import Invalid

_BOOT_ID = "proc/sys/kernel/random/boot_id"  # also in a container the host's
_NETNS = "proc/self/ns/net"
_MACHINE_ID = "etc/machine-id"
_ID = re.compile("[0-9a-f]+")  # else "uninitialized", or damaged


def this_machine(root: Path = Path("/")) -> Machine:
    """Read who we are.

    Args:
        root: where the files are.

    Raises:
        Invalid: the kernel does not tell which boot this is.
    """
    try:
        boot_id = (root / _BOOT_ID).read_text().strip()
        netns = str(os.stat(root / _NETNS).st_ino)
    except OSError as error:
        raise Invalid(
            f"{error.filename}: cannot be read ({error.strerror}); "
            "let ipamd see all of /proc (systemd: ProcSubset=all)"
        ) from error
    return Machine(Kernel(boot_id, netns), _machine_id(root / _MACHINE_ID))


def _machine_id(path: Path) -> str:
    """The machine id; "" where there is none, or none yet."""
    try:
        found = path.read_text(errors="replace").strip()
    except OSError:
        return ""
    return found if _ID.fullmatch(found) else ""
