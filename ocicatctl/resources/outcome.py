"""What a command says about what it did, in calicoctl's words.

Pure: no I/O.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ocicatctl.resources.manifest import Resource, Verb


@dataclass
class Report:
    """How far a command came with its resources."""

    verb: Verb
    resources: Sequence[Resource]
    done: list[int] = field(default_factory=list)  # indices, in order
    wrong: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The line for standard output; empty if nothing was done."""
        count, total = len(self.done), len(self.resources)
        if not total:
            return "No resources specified"
        if not count:
            return ""
        what = f"'{self._kind}' resource" if self._kind else "resource"
        if not self.wrong or self.verb is Verb.DELETE:
            return f"Successfully {self.verb.value} {count} {what}(s)"
        # With calicoctl "the first n" may be others than the first n.
        first = "the first " if self.done == list(range(count)) else ""
        return f"Partial success: {self.verb.value} {first}{count} out of {total} {what}s:"

    @property
    def errors(self) -> str:
        """One line for each thing that went wrong."""
        quoted = f"'{self._kind}' " if self._kind else ""
        word = self.verb.word
        if self.verb is Verb.DELETE:
            return "\n".join(f"Failed to delete {quoted}resource: {what}" for what in self.wrong)
        if self.done:
            prefix = "Hit error"
        elif len(self.resources) == 1:
            prefix = f"Failed to {word} {quoted}resource"
        else:
            prefix = f"Failed to {word} any {quoted}resources"
        return "\n".join(f"{prefix}: [{what}]" for what in self.wrong)

    @property
    def _kind(self) -> str:
        kinds = {resource.kind.name for resource in self.resources}
        return kinds.pop() if len(kinds) == 1 else ""
