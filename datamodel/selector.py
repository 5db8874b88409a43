"""Calico's selectors: which labels somebody must have, such as ``rack == "r1" && !has(gpu)``.

Pure: no I/O. Selectors of nodes, namespaces and endpoints are all written so. A selector that was
read is a flat list of steps in postfix order, so that the deepest one is evaluated, compared and
printed without recursion.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from datamodel.errors import Invalid

MAX_DEPTH = 100  # levels of parentheses; Calico sets no limit
MAX_LABEL_LENGTH = 512

Values = tuple[str, ...]

# What an operator asks of a label's value; ``None``: there is no such label.
_HOLDS: dict[str, Callable[[str | None, Values], bool]] = {
    "all": lambda _value, _wanted: True,
    "global": lambda _value, _wanted: True,
    "has": lambda value, _wanted: value is not None,
    "==": lambda value, wanted: value in wanted,
    "!=": lambda value, wanted: value not in wanted,
    "in": lambda value, wanted: value in wanted,
    "not in": lambda value, wanted: value not in wanted,
    "contains": lambda value, wanted: value is not None and wanted[0] in value,
    "starts with": lambda value, wanted: value is not None and value.startswith(wanted),
    "ends with": lambda value, wanted: value is not None and value.endswith(wanted),
}


@dataclass(frozen=True, slots=True)
class _Test:
    """One question about one label, or ``all()`` or ``global()``, which ask nothing."""

    operator: str
    label: str = ""
    values: Values = ()

    def __str__(self) -> str:
        if self.operator in ("all", "global", "has"):
            return f"{self.operator}({self.label})"
        values = ", ".join(_quoted(value) for value in self.values)
        if self.operator in ("in", "not in"):
            values = f"{{{values}}}"
        return f"{self.label} {self.operator} {values}"


@dataclass(frozen=True, slots=True)
class _Join:
    """What ``&&``, ``||`` or ``!`` makes of the last *count* results."""

    operator: str
    count: int


_NOT = _Join("!", 1)
_Steps = tuple[_Test | _Join, ...]


@dataclass(frozen=True, slots=True)
class Selector:
    """A condition on labels. Equal if they ask the same questions in the same order."""

    steps: _Steps

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether somebody with these labels is selected."""
        results: list[bool] = []
        for step in self.steps:
            if isinstance(step, _Test):
                results.append(_HOLDS[step.operator](labels.get(step.label), step.values))
            elif step == _NOT:
                results[-1] = not results[-1]
            else:
                combine = all if step.operator == "&&" else any
                results[-step.count :] = [combine(results[-step.count :])]
        return results[0]

    @property
    def uses_global(self) -> bool:
        """Whether ``global()`` is in it, which only network policies may use."""
        return _Test("global") in self.steps

    def __str__(self) -> str:
        """The selector with no more parentheses than it needs; reading it gives an equal one."""
        texts: list[tuple[str, str]] = []  # text, and the operator that binds it
        for step in self.steps:
            if isinstance(step, _Test):
                texts.append((str(step), ""))
            elif step == _NOT:
                texts[-1] = (f"!{_enclosed(texts[-1], '&&', '||')}", "!")
            else:
                # "a && b || c" needs none; equal ones inside each other show how it was written.
                loose = ("&&", "||") if step.operator == "&&" else ("||",)
                parts = [_enclosed(text, *loose) for text in texts[-step.count :]]
                texts[-step.count :] = [(f" {step.operator} ".join(parts), step.operator)]
        return texts[0][0]


def _enclosed(text: tuple[str, str], *loose: str) -> str:
    return f"({text[0]})" if text[1] in loose else text[0]


def _quoted(value: str) -> str:
    return f"'{value}'" if '"' in value else f'"{value}"'


@lru_cache(maxsize=1024)
def parse(text: str) -> Selector:
    """Read a selector; an empty one selects everybody.

    Raises:
        Invalid: it is none; the message says where and what was expected there.
    """
    return _Reader(text).read()


_SPACES = re.compile(r"[ \t]*")
_LABEL = re.compile(r"[A-Za-z0-9_./-]+")
_LABEL_OPERATOR = re.compile(
    r"==|!=|contains|starts[ \t]*with|ends[ \t]*with|not[ \t]*in|in"  # no space need follow
)
_NAMES = {"startswith": "starts with", "endswith": "ends with", "notin": "not in"}
_CALL = re.compile(r"(all|global)\([ \t]*\)|has\([ \t]*([A-Za-z0-9_./-]+)[ \t]*\)")
_CALL_START = re.compile(r"(?:all|global|has)\(")
_STRING = re.compile("'[^']*'|\"[^\"]*\"")


@dataclass(slots=True)
class _Reader:
    """Where reading has come to, and what it has found."""

    text: str
    position: int = 0
    depth: int = 0
    steps: list[_Test | _Join] = field(default_factory=list)

    def read(self) -> Selector:
        self._skip_spaces()
        if self.position == len(self.text):
            return Selector((_Test("all"),))
        self._either()
        if self.position < len(self.text):
            raise self._expected("&&, || or the end")
        return Selector(tuple(self.steps))

    def _either(self) -> None:
        self._both()
        count = 1
        while self._take("||"):
            self._both()
            count += 1
        if count > 1:
            self.steps.append(_Join("||", count))

    def _both(self) -> None:
        self._operand()
        count = 1
        while self._take("&&"):
            self._operand()
            count += 1
        if count > 1:
            self.steps.append(_Join("&&", count))

    def _operand(self) -> None:
        is_negated = False
        while self._take("!"):
            is_negated = not is_negated
        if self._take("("):
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise self._expected(f"at most {MAX_DEPTH} levels of parentheses")
            self._either()
            if not self._take(")"):
                raise self._expected("&&, || or )")
            self.depth -= 1
        else:
            self.steps.append(self._test())
        if is_negated and self.steps[-1] == _NOT:
            self.steps.pop()  # !(!x)
        elif is_negated:
            self.steps.append(_NOT)

    def _test(self) -> _Test:
        if call := self._match(_CALL):
            return _Test(call[1]) if call[1] else _Test("has", self._checked_label(call[2]))
        if start := self._match(_CALL_START):
            raise self._expected("a label and )" if start[0] == "has(" else ")")
        label = self._match(_LABEL)
        if not label:
            raise self._expected("a label, has(, all(), global(), ! or (")
        name = self._checked_label(label[0])
        found = self._match(_LABEL_OPERATOR)
        if not found:
            raise self._expected("==, !=, in, not in, contains, starts with or ends with")
        operator = _SPACES.sub("", found[0])
        operator = _NAMES.get(operator, operator)
        is_of_set = operator in ("in", "not in")
        return _Test(operator, name, self._set() if is_of_set else (self._string(),))

    def _checked_label(self, label: str) -> str:
        if len(label) > MAX_LABEL_LENGTH:
            raise self._expected(f"a label of at most {MAX_LABEL_LENGTH} characters before this")
        return label

    def _set(self) -> Values:
        if not self._take("{"):
            raise self._expected("{")
        values = set()
        while not self._take("}"):
            values.add(self._string())
            if not self._take(",") and self.text[self.position : self.position + 1] != "}":
                raise self._expected(", or }")
        return tuple(sorted(values))

    def _string(self) -> str:
        found = self._match(_STRING)
        if not found:
            raise self._expected("text in quotes")
        return found[0][1:-1]

    def _take(self, symbol: str) -> bool:
        if not self.text.startswith(symbol, self.position):
            return False
        self.position += len(symbol)
        self._skip_spaces()
        return True

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.position)
        if found:
            self.position = found.end()
            self._skip_spaces()
        return found

    def _skip_spaces(self) -> None:
        spaces = _SPACES.match(self.text, self.position)
        self.position = spaces.end() if spaces else self.position

    def _expected(self, what: str) -> Invalid:
        return Invalid(
            f"selector {_shortened(self.text)!r}: expected {what} at character "
            f"{self.position + 1}, found {_shortened(self.text[self.position :]) or 'the end'}"
        )


def _shortened(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}…"
