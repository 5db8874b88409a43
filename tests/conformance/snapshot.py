"""Everything that a call could change on a node, as one value whose difference reads like a diff.

A snapshot is a set of lines such as ``node: link eth0 up mtu 1500``; ``after - before`` says what
came (``+``) and went (``-``). Left out is only what the kernel changes by itself: counters,
lifetimes, indexes, neighbours that it learns, and link-local addresses with their routes.
"""

import hashlib
import json
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IP_COMMANDS = ("link show", "addr show", "route show table all", "neigh show nud permanent", "rule")
# Every setting of a link, and forwarding for the node as a whole.
SYSCTLS = "/proc/sys/net/ipv[46]/conf /proc/sys/net/ipv[46]/neigh /proc/sys/net/ipv4/ip_forward"
# Of host-local: where to go on, and what is held while it works.
NO_RECORDS = ("last_reserved_ip", "lock")
SCRIPT = f"""
ip -d -j -b - <<END
{chr(10).join(IP_COMMANDS)}
END
echo ----
nft list ruleset
echo ----
grep -rs '' {SYSCTLS}
"""


@dataclass(frozen=True)
class Snapshot:
    """What there is at one moment."""

    lines: frozenset[str]

    def __sub__(self, before: "Snapshot") -> list[str]:
        """What changed since *before*: ``+ pod: link eth0 …``, ``- node: route …``.

        The hundreds of settings that come and go with a link are not listed.
        """
        came = [f"+ {line}" for line in self.lines - before.lines]
        went = [f"- {line}" for line in before.lines - self.lines]
        gone = self._links() ^ before._links()
        listed = [change for change in went + came if _setting_of(change[2:]) not in gone]
        return sorted(listed, key=lambda change: (change[2:], change[0]))

    def _links(self) -> set[tuple[str, str]]:
        """Every link with the place where it is."""
        words = (line.split() for line in self.lines if ": link " in line)
        return {(place, name) for place, _, name, *_ in words}

    def about(self, *words: str) -> list[str]:
        """The lines that contain every one of *words*."""
        return sorted(line for line in self.lines if all(word in line for word in words))

    def without(self, *words: str) -> "Snapshot":
        """The same but for lines that contain one of *words*."""
        kept = (line for line in self.lines if not any(word in line for word in words))
        return Snapshot(frozenset(kept))


def _setting_of(line: str) -> tuple[str, str] | None:
    """Which link a line is a setting of."""
    found = re.match(r"(\S+) sysctl net/ipv\d/(?:conf|neigh)/([^/]+)/", line)
    return (found[1], found[2]) if found else None


def take(
    namespaces: Mapping[str, Path],
    directories: Iterable[Path] = (),
    store: Callable[[], Mapping[str, object]] = dict,
) -> Snapshot:
    """Look at network namespaces (by what to call them), files, and a store's keys."""
    running = {
        place: subprocess.Popen(
            ["nsenter", f"--net={path}", "--", "sh", "-c", SCRIPT],
            stdout=subprocess.PIPE,
            text=True,
        )
        for place, path in namespaces.items()
    }
    lines = {f"store: {key} = {json.dumps(value)}" for key, value in store().items()}
    for place, process in running.items():
        said, _ = process.communicate(timeout=30)
        lines |= {f"{place}: {line}" for line in _kernel(said)}
    for directory in directories:
        lines |= set(_files(directory))
    return Snapshot(frozenset(lines))


def _kernel(said: str) -> Iterator[str]:
    ip, nft, sysctls = said.split("----\n")
    kinds = zip((_links, _addresses, _routes, _neighbours, _rules), ip.splitlines(), strict=True)
    for kind, line in kinds:
        yield from kind(json.loads(line))
    yield from _nft(nft)
    for line in sysctls.splitlines():
        path, _, value = line.removeprefix("/proc/sys/").partition(":")
        yield f"sysctl {path} = {value}"


def _links(links: list[dict[str, Any]]) -> Iterator[str]:
    for link in links:
        words = ("mtu", "address", "master", "group", "ifalias", "promiscuity")
        said = " ".join(f"{w} {link[w]}" for w in words if link.get(w) not in (None, "default", 0))
        flags = " up" if "UP" in link["flags"] else " down"
        kind = link.get("linkinfo", {}).get("info_kind", "")
        yield f"link {link['ifname']} {kind}{flags} {said}"


def _addresses(links: list[dict[str, Any]]) -> Iterator[str]:
    for link in links:
        for info in link.get("addr_info", ()):
            if "local" in info and not info["local"].startswith("fe80:"):
                address = f"{info['local']}/{info['prefixlen']}"
                yield f"address {address} on {link['ifname']} {info['scope']}"


def _routes(routes: list[dict[str, Any]]) -> Iterator[str]:
    for route in routes:
        if route["dst"].startswith(("fe80:", "ff00:")):
            continue
        words = ("type", "gateway", "dev", "table", "scope", "prefsrc", "metric", "metrics")
        yield f"route {route['dst']} " + " ".join(f"{w} {route[w]}" for w in words if w in route)


def _neighbours(neighbours: list[dict[str, Any]]) -> Iterator[str]:
    for one in neighbours:
        yield f"neighbour {one['dst']} on {one['dev']} at {one.get('lladdr')}"


def _rules(rules: list[dict[str, Any]]) -> Iterator[str]:
    for rule in rules:
        yield "rule " + " ".join(f"{key} {value}" for key, value in rule.items())


def _nft(listing: str) -> Iterator[str]:
    """Every rule with its table and chain; what iptables wrote is among them."""
    where: list[str] = []
    for line in listing.splitlines():
        text = re.sub(r"counter packets \d+ bytes \d+", "counter", line.strip())
        if text.endswith("{"):
            where.append(text.removesuffix("{").strip())
            yield f"nft {' / '.join(where)}"
        elif text == "}":
            where.pop()
        elif text:
            yield f"nft {' / '.join(where)}: {text}"


def _files(directory: Path) -> Iterator[str]:
    """Files with a digest of what they hold; logs grow, and a hint where to go on is no record."""
    for path in sorted(directory.rglob("*")) if directory.exists() else ():
        if path.is_dir() or path.suffix in (".log", ".pid") or path.stem in NO_RECORDS:
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else ""
        yield f"file {path} {digest}"
