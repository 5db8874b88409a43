"""The page docs/conformance.md: a row for each rule, a column for each plugin that was run.

One run knows one plugin. It replaces that plugin's column and its list of what did not hold, and
leaves those of other plugins as they are.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.rules import GROUPS, RULES

INTRODUCTION = """\
# Conformance

What a CNI plugin has to do, rule by rule, and what two plugins do. `tests/conformance/` writes this
page: it drives the **installed executable** by environment, stdin and kernel state alone, and
compares everything on the node before and after each call: links, addresses, routes, neighbours,
rules, sysctls, nftables (with what iptables wrote), files and the store.

```
{commands}
```

*must* and *should* are the [CNI specification](https://www.cni.dev/docs/spec/)'s, with its section;
*practice* is what the CNI library, the reference plugins and runtimes do or rely on; *ours* is what
only Ocicat promises. A cell says how many of the rule's cases passed; `n.a.`: not this plugin's
business, or of a specification version that it does not speak. ocicat was run on the lab of
`ocicatctl lab`, with etcd and all daemons; another plugin is run with `host-local` on a bare node.
"""
COMMANDS = """\
sudo .venv/bin/python -m pytest tests/conformance   # ocicat, in a lab of its own
sudo .venv/bin/python -m pytest tests/conformance --plugin /usr/lib/cni/ptp \\
    --conf tests/conformance/ptp.json --report docs/conformance.md"""
HEADING = "## What does not hold for {plugin}"
NOT_APPLICABLE = "n.a."


@dataclass(frozen=True)
class Verdict:
    """How one case ended."""

    rules: tuple[str, ...]
    sentence: str
    parameters: str  # "" for a case that has none
    has_passed: bool


def write(path: Path, plugin: str, verdicts: Iterable[Verdict]) -> None:
    """Bring one plugin's part of the page up to date."""
    columns, failures = read(path.read_text()) if path.exists() else ({}, {})
    verdicts = [verdict for verdict in verdicts if verdict.rules]
    columns[plugin] = _column(verdicts)
    failures[plugin] = list(_failures(verdicts))
    path.write_text(page(columns, failures))


def _failures(verdicts: Iterable[Verdict]) -> Iterable[str]:
    """A line for each sentence that did not hold, with the parameters for which it did not."""
    found: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for verdict in verdicts:
        if not verdict.has_passed:
            found[*verdict.rules, verdict.sentence].append(verdict.parameters)
    for (*rules, sentence), parameters in found.items():
        named = ", ".join(f"`{text}`" for text in parameters if text)
        yield f"{' '.join(rules)}: {sentence}" + (f" ({named})" if named else "")


def _column(verdicts: Iterable[Verdict]) -> dict[str, str]:
    passed: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for verdict in verdicts:
        for rule in verdict.rules:
            total[rule] += 1
            passed[rule] += verdict.has_passed
    return {rule: _cell(passed[rule], total[rule]) for rule in total}


def _cell(passed: int, total: int) -> str:
    return f"pass {total}" if passed == total else f"**fails {total - passed} of {total}**"


def read(text: str) -> tuple[dict[str, dict[str, str]], dict[str, list[str]]]:
    """The columns and lists of failures of a page that was written before."""
    columns: dict[str, dict[str, str]] = defaultdict(dict)
    failures: dict[str, list[str]] = {}
    plugins: list[str] = []
    current = ""
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| rule |"):
            plugins = cells[3:]
        elif line.startswith("| ") and cells[0] in RULES:
            for plugin, cell in zip(plugins, cells[3:], strict=True):
                if cell != NOT_APPLICABLE:
                    columns[plugin][cells[0]] = cell
        elif found := re.fullmatch(HEADING.format(plugin="(.+)"), line):
            current = found[1]
            failures[current] = []
        elif line.startswith("* ") and current:
            failures[current].append(line.removeprefix("* "))
    return dict(columns), failures


def page(columns: dict[str, dict[str, str]], failures: dict[str, list[str]]) -> str:
    """The whole page."""
    parts = [INTRODUCTION.format(commands=COMMANDS)]
    for letter, title in GROUPS.items():
        parts.append(f"## {title}\n")
        parts.append("\n".join(_table(letter, columns)) + "\n")
    for plugin, cases in failures.items():
        parts.append(HEADING.format(plugin=plugin) + "\n")
        parts.append("\n".join(f"* {case}" for case in cases) + "\n" if cases else "Nothing.\n")
    return "\n".join(parts)


def _table(letter: str, columns: dict[str, dict[str, str]]) -> Iterable[str]:
    yield f"| rule | level | what | {' | '.join(columns)} |"
    yield "|---" * (3 + len(columns)) + "|"
    for name, rule in RULES.items():
        if name[0] == letter:
            level = f"{rule.level} (§{rule.section})" if rule.section else rule.level
            cells = [column.get(name, NOT_APPLICABLE) for column in columns.values()]
            yield f"| {name} | {level} | {rule.text} | {' | '.join(cells)} |"
