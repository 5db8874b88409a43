"""A claim on a node's name: which machine runs under it. Two machines must not, whatever they hold.

Pure: no I/O.
"""

from dataclasses import dataclass
from datetime import datetime

from datamodel.attachment import Kernel


@dataclass(frozen=True, slots=True)
class Machine:
    """Who may run under a name: a kernel, and the installation on its disk if that is known."""

    kernel: Kernel  # with the network namespace of ipamd
    machine_id: str = ""  # /etc/machine-id; "" where there is none, as in a container

    def is_same(self, other: "Machine") -> bool:
        """Whether both are one: links made under the one are there under the other.

        Clones have one machine id and each a boot id of its own. A reboot makes another one
        of a machine: whoever knew it before has not kept its claim alive since.
        """
        ids = {self.machine_id, other.machine_id} - {""}
        return self.kernel == other.kernel and len(ids) <= 1

    def __str__(self) -> str:
        found = f"boot id {self.kernel.boot_id}"
        return f"machine id {self.machine_id}, {found}" if self.machine_id else found


@dataclass(frozen=True, slots=True)
class Claim:
    """What is stored under a node's name while a machine runs under it."""

    machine: Machine
    since: datetime  # in whole seconds
    lease: int  # the store's, which the machine keeps alive
