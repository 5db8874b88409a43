"""Take the text of a file apart into the objects in it, each with the place where it stands.

Pure: no I/O. YAML and JSON, several documents with ``---`` between them, lists of objects, and
``…List`` objects with items, as ``get -o yaml`` prints them.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

_SEPARATOR = re.compile(r"^---(?=\s|$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Located:
    """An object as it was written, and where."""

    source: str  # the file
    place: str  # "document 2", "document 2, item 3"
    value: Any

    def wrong(self, what: str) -> str:
        """Say what is wrong with it, if nothing names it better than its place."""
        return f"{self.source}: {self.place}: {what}"


class _Loader(yaml.SafeLoader):
    """YAML in which a value is what it looks like.

    Without YAML 1.1's times, fractions and numbers to the base of 60, a creation time, the AS
    number 1.10 and the community 65000:10 stay the text that they are. A key that stands twice is
    a mistake and no way to override it.
    """

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is there twice", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, rule) for tag, rule in rules if tag.rpartition(":")[2] in ("bool", "merge", "null")
    ]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][0-9]*)$"), list("-+0123456789")
)


def parse(content: bytes, source: str) -> tuple[list[Located], list[str]]:
    """Return every object in the file, and what is wrong with what is none."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return [], [f"{source}: is not text in UTF-8"]
    found: list[Located] = []
    mistakes: list[str] = []
    for number, chunk in enumerate(_chunks(text), 1):
        place = f"document {number}"
        try:
            value = _load(chunk)
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            mistakes.append(f"{source}: {place}: {_reason(error)}")
            continue
        found += _expanded(Located(source, place, value))
    return found, mistakes


def _chunks(text: str) -> Iterator[str]:
    """The documents, each behind as many empty lines as stand before it, for the line numbers."""
    start = 0
    for end in [*(match.start() for match in _SEPARATOR.finditer(text)), len(text)]:
        chunk = text[start:end]
        if _has_content(chunk):
            yield "\n" * text.count("\n", 0, start) + chunk
        start = end + len("---")


def _has_content(chunk: str) -> bool:
    lines = (line.strip() for line in chunk.splitlines())
    return any(line and not line.startswith(("#", "%")) for line in lines)


def _load(chunk: str) -> Any:
    if chunk.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(chunk, object_pairs_hook=_once, parse_float=str, parse_constant=str)
        except json.JSONDecodeError:
            pass  # YAML has braces too
    # A subclass of the safe loader: it builds plain values only.
    return yaml.load(chunk, _Loader)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise yaml.YAMLError(f"the key {key!r} is there twice")
        found[key] = value
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error).replace("\n", " ")
    if "'\\t'" in what:
        what = "a tab where only blanks may stand"
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"cannot be read as YAML or JSON: {where}{what}"


def _expanded(found: Located) -> Iterator[Located]:
    value = found.value
    if isinstance(value, list):
        yield from _items(found, value, {})
    elif isinstance(value, dict) and _is_list(value):
        # Within a typed list Calico leaves kind and version out.
        inherited = {"apiVersion": value.get("apiVersion"), "kind": value["kind"][: -len("List")]}
        yield from _items(found, value.get("items"), inherited)
    elif value is not None:
        yield found


def _is_list(value: dict[str, Any]) -> bool:
    kind = value.get("kind")
    return isinstance(kind, str) and kind.endswith("List") and "spec" not in value


def _items(found: Located, items: Any, inherited: dict[str, Any]) -> Iterator[Located]:
    if items is not None and not isinstance(items, list):
        yield Located(found.source, f"{found.place}, items", items)
        return
    for i, item in enumerate(items or (), 1):
        value = {**inherited, **item} if isinstance(item, dict) else item
        yield Located(found.source, f"{found.place}, item {i}", value)
