"""Which settings of NetworkManager, systemd-networkd and udev hold for our links.

Pure: no I/O. All three read drop-in files of several directories; a file hides those of the same
name in a later directory. For networkd and udev the first file by name that matches a link
decides, for NetworkManager the last one that says something.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

# A link of each kind that is ours, as the programs see it.
LINKS: Mapping[str, str] = {
    "cali0123456789a": "veth",
    "tunl0": "ipip",
    "vxlan.calico": "vxlan",
    "vxlan-v6.calico": "vxlan",
}


@dataclass(frozen=True, slots=True)
class DropIn:
    """A file: where it is, and what is in it."""

    path: str
    text: str

    @property
    def name(self) -> str:
        """By which it is ordered, and hidden."""
        return self.path.rpartition("/")[2]


def effective(directories: Sequence[Sequence[DropIn]]) -> list[DropIn]:
    """The files that count, in their order; *directories* in the order in which they hide."""
    seen: dict[str, DropIn] = {}
    for directory in directories:
        for file in directory:
            seen.setdefault(file.name, file)
    return [file for _, file in sorted(seen.items()) if file.text.strip()]


# ---- systemd -----------------------------------------------------------------------------------


def decides(files: Iterable[DropIn], link: str) -> DropIn | None:
    """Which file of systemd-networkd or udev is used for a link; ``None``: none."""
    return next((file for file in files if _matches(file, link)), None)


def setting(file: DropIn, section: str, key: str) -> str:
    """What a file says last; "" if nothing."""
    values = [v for s, k, _, v in _lines(file.text) if (s, k) == (section, key)]
    return values[-1] if values else ""


def _matches(file: DropIn, link: str) -> bool:
    kind = LINKS.get(link, "")
    known = {
        "Name": (link,),
        "OriginalName": (link,),
        "Driver": (kind,),
        "Kind": (kind,),
        "Type": ("ether",) if kind in ("veth", "vxlan") else ("tunnel", kind),
    }
    wanted = [(key, value) for section, key, _, value in _lines(file.text) if section == "Match"]
    # What it may say besides (a MAC address, a host, …) is of no link of ours.
    return all(
        key in known and any(_has(value, is_so) for is_so in known[key]) for key, value in wanted
    )


def _has(patterns: str, name: str) -> bool:
    """Whether a name is in a list of globs; one that begins with "!" is of those it is not."""
    if patterns.startswith("!"):
        return not any(fnmatchcase(name, glob) for glob in patterns[1:].split())
    return any(fnmatchcase(name, glob) for glob in patterns.split())


def _lines(text: str) -> Iterable[tuple[str, str, str, str]]:
    """Every setting as section, key, how it is set ("=", "+" or "-"), value."""
    section = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
        elif "=" in line and line[0] not in "#;":
            key, _, value = line.partition("=")
            how = key[-1:] if key[-1:] in ("+", "-") else "="
            yield section, key.rstrip("+- "), how, value.strip()


# ---- NetworkManager ----------------------------------------------------------------------------


def unmanaged(files: Iterable[DropIn], link: str) -> tuple[bool, DropIn | None]:
    """Whether NetworkManager leaves a link alone, and the file that said so last."""
    specs: list[str] = []
    last: DropIn | None = None
    managed: dict[str, str] = {}
    for file in files:
        for section, key, how, value in _lines(file.text):
            if (section, key) == ("keyfile", "unmanaged-devices"):
                given = [spec.strip() for spec in value.replace(",", ";").split(";")]
                kept = [] if how == "=" else [s for s in specs if how == "+" or s not in given]
                specs = kept + (given if how != "-" else [])
                last = file
            elif section.startswith("device") and key in ("match-device", "managed"):
                managed[f"{section}/{key}"] = value
    by_section = any(
        value.lower() in ("0", "false", "no")
        and _names(managed.get(f"{name.partition('/')[0]}/match-device", "").split(","), link)
        for name, value in managed.items()
        if name.endswith("/managed")
    )
    return by_section or _names(specs, link), last


def _names(specs: Iterable[str], link: str) -> bool:
    for spec in specs:
        kind, _, name = spec.strip().partition(":")
        if kind == "interface-name" and fnmatchcase(link, name.lstrip("=~")):
            return True
        if kind == "driver" and fnmatchcase(LINKS.get(link, ""), name):
            return True
    return False
