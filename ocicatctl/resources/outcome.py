"""What a command says about what it did, in calicoctl's words.

No I/O of its own.
"""

from collections.abc import Awaitable, Callable, Container, Sequence
from dataclasses import dataclass, field

from datamodel.errors import OcicatError, Unavailable
from ocicatctl.resources.change import Outcome
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


async def one_by_one(
    report: Report, act: Callable[[Resource], Awaitable[Outcome]], fine: Container[Outcome]
) -> Report:
    """Do something with each of the report's resources; what went wrong with one stops no other.

    Args:
        report: told how each went.
        act: does it.
        fine: which outcomes count as done.
    """
    for i, resource in enumerate(report.resources):
        try:
            outcome = await act(resource)
        except Unavailable as error:
            report.wrong.append(str(error))
            break  # the next one would wait as long for the same answer
        except OcicatError as error:
            report.wrong += str(error).splitlines()
            continue
        if outcome in fine:
            report.done.append(i)
        else:
            report.wrong.append(f"{outcome.value}: {resource.title}")
    return report
