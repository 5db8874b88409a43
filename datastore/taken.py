"""What was taken back from a node that is gone, and how it is told.

Pure: no I/O.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from datamodel.attachment import Pod
from datamodel.block import Address
from datastore import keys

_KINDS = {
    "workloadendpoints": "WorkloadEndpoint",
    "hostendpoints": "HostEndpoint",
    "bgppeers": "BGPPeer",
    "bgpconfigurations": "BGPConfiguration",
    "felixconfigurations": "FelixConfiguration",
}


@dataclass(frozen=True, slots=True)
class Freed:
    """An address, and who held it."""

    address: Address
    handle_id: str  # "": it was held without one
    pod: Pod | None = None

    def __str__(self) -> str:
        who = self.pod or self.handle_id
        return f"{self.address} ({who})" if who else str(self.address)


@dataclass(frozen=True, slots=True)
class Taken:
    """What one transaction takes back."""

    addresses: tuple[Freed, ...] = ()
    borrowed: tuple[Freed, ...] = ()  # those of them that were in other nodes' blocks
    blocks: tuple[str, ...] = ()
    disowned: tuple[str, ...] = ()  # blocks that others use; they go on without a node
    resources: tuple[str, ...] = ()  # their keys


@dataclass
class Deleted:
    """What was deleted, or would be; and what nobody can read and so was left."""

    node: str
    is_trial: bool = False
    had_node: bool = False
    addresses: list[Freed] = field(default_factory=list)
    borrowed: list[Freed] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)
    disowned: list[str] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)

    def add(self, taken: Taken) -> None:
        """Count a transaction that was made."""
        self.addresses += taken.addresses
        self.borrowed += taken.borrowed
        self.blocks += taken.blocks
        self.disowned += taken.disowned
        self.resources += taken.resources

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing of the node."""
        lists = (self.addresses, self.blocks, self.disowned, self.resources, self.mistakes)
        return not (self.had_node or any(lists))

    @property
    def text(self) -> str:
        """The numbers; of a trial every single thing."""
        lines = self._everything() if self.is_trial else self._numbers()
        return "".join(f"{line}\n" for line in lines)

    def _numbers(self) -> Iterator[str]:
        yield f"node {self.node}: {'deleted' if self.had_node else 'was deleted before'}"
        borrowed = f", {len(self.borrowed)} of them borrowed" if self.borrowed else ""
        yield f"  addresses released: {len(self.addresses)}{borrowed}"
        disowned = f", left to those who use them: {len(self.disowned)}" if self.disowned else ""
        yield f"  blocks deleted: {len(self.blocks)}{disowned}"
        resources = [key for key in self.resources if not key.startswith(keys.ENDPOINTS)]
        yield f"  workload endpoints deleted: {len(self.resources) - len(resources)}"
        yield from (f"  deleted: {_title(key)}" for key in resources)

    def _everything(self) -> Iterator[str]:
        if self.had_node:
            yield f"would delete Node({self.node})"
        yield from _lines("would release", map(str, self.addresses))
        yield from _lines("would delete block", self.blocks)
        yield from _lines("would leave to those who use it block", self.disowned)
        yield from _lines("would delete", [_title(key) for key in self.resources])


def _lines(what: str, texts: Iterable[str]) -> list[str]:
    return [f"{what} {text}" for text in texts]


def _title(key: str) -> str:
    """A resource as calicoctl names it in messages; another key as it is."""
    plural, _, name = key.removeprefix(keys.RESOURCES).partition("/")
    return f"{_KINDS[plural]}({name})" if plural in _KINDS else key
