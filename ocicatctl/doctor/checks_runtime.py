"""What the container runtime sees: its directories, the configuration that wins, its plugins.

Pure: no I/O.
"""

import json
from collections.abc import Iterator
from typing import Any

from ocicatctl.doctor.facts import BinDir, ConfFile, Facts, Runtimes
from ocicatctl.doctor.finding import Finding, Fine, Unknown, Wrong
from ocicatctl.doctor.runtime_config import Runtime
from ocicatctl.install.wanted import CALICO_LAUNCHERS, LAUNCHERS

NAMES = (*LAUNCHERS, *CALICO_LAUNCHERS)
# The plugins of Debian's package that may stand behind ours.
_REFERENCE = ("bandwidth", "firewall", "portmap", "sbr", "tuning", "vrf")


def runtime(facts: Facts) -> Iterator[Finding]:
    """Which runtime there is, and whether it uses CNI at all."""
    found = facts.of(Runtimes).found
    for one in found:
        if one.mistake:
            yield Wrong(
                f"{one.name}: {one.mistake}",
                "it does not start again with such a file",
                f"{one.name.lower()} config dump",
            )
        elif one.uses_cni:
            dirs = ", ".join(one.bin_dirs)
            yield Fine(f"{one.name}: plugins in {dirs}, configuration in {one.conf_dir}")
        elif one.name == "containerd":
            yield Wrong(
                f"containerd: {one.source} disables its CRI plugin",
                "kubelet gets no answer, and no pod starts",
                f"sed -i '/^disabled_plugins/d' {one.source} && systemctl restart containerd",
            )
        else:
            yield Fine(f"{one.name}: does not use CNI")
    if not found:
        yield Unknown("no runtime found; the usual directories are looked at")


def bin_dir(facts: Facts) -> Iterator[Finding]:
    """Whether our launcher is where the runtime looks."""
    seen = facts.of(Runtimes)
    for one in _users(seen):
        dirs = [seen.bins[path] for path in one.bin_dirs]
        having = next((at for at in dirs if {"ocicat", "calico"} & (at.programs | at.others)), None)
        if having and having.is_noexec:
            yield Wrong(
                f"bin dir {having.path}: is on a file system that is mounted noexec",
                "no plugin in it can be executed: every ADD fails",
                executable(having),
            )
        elif having:
            yield Fine(f"bin dir {having.path}: has our launcher")
        else:
            first = dirs[0]
            state = "has no launcher of ours" if first.exists else "is not there"
            yield Wrong(
                f"bin dir {first.path}: {state}, and {_called(one)} looks for plugins there",
                "every ADD fails: the runtime finds no plugin",
                f"ocicatctl install --bin-dir {first.path} --conf-dir {one.conf_dir}",
            )


def executable(at: BinDir, name: str = "") -> str:
    """The command that makes a plugin one that can be executed."""
    if at.is_noexec:
        return f"mount -o remount,exec $(findmnt -no TARGET -T {at.path})"
    return f"chmod 0755 {at.path}/{name}"


def conflist(facts: Facts) -> Iterator[Finding]:
    """Which configuration the runtime uses, and whether it is ours."""
    seen = facts.of(Runtimes)
    for one in _users(seen):
        files = seen.conf.get(one.conf_dir, ())
        winner = winning(files, one.network)
        broken = [file for file in files if _document(file) is None]
        for file in broken:
            if winner is None or file.path < winner.path:
                yield Wrong(
                    f"{file.path}: is no network configuration",
                    "CRI-O passes over it; containerd loads nothing at all, and pods wait",
                    f"mv {file.path} {file.path}.broken",
                )
        if winner is None:
            yield Wrong(
                f"conf dir {one.conf_dir}: has no network configuration",
                f"{_called(one)} has no pod network: the node is NotReady",
                f"ocicatctl install --bin-dir {one.bin_dirs[0]} --conf-dir {one.conf_dir}",
            )
            continue
        yield from _winner(winner, files, one)


def _winner(winner: ConfFile, files: tuple[ConfFile, ...], one: Runtime) -> Iterator[Finding]:
    others = [file for file in files if file is not winner and _is_ours(file)]
    if _is_ours(winner):
        rest = len(files) - 1
        more = f"; {rest} more in its directory, after it" if rest else ""
        yield Fine(f"{winner.path}: is the one that {_called(one)} uses{more}")
    elif others:
        yield Wrong(
            f"{winner.path}: sorts before {others[0].path}, so {_called(one)} uses it alone",
            "new pods are another plugin's: no address of ours, no route to them",
            f"mv {winner.path} {winner.path}.disabled",
        )
    else:
        yield Wrong(
            f"{winner.path}: is the one that {_called(one)} uses, and it is not ours",
            "new pods are another plugin's: no address of ours, no route to them",
            f"ocicatctl install --bin-dir {one.bin_dirs[0]} --conf-dir {one.conf_dir} && "
            f"mv {winner.path} {winner.path}.disabled",
        )


def plugins(facts: Facts) -> Iterator[Finding]:
    """Whether every plugin of our configuration can be executed; that it wins is conflist's."""
    seen = facts.of(Runtimes)
    for one in _users(seen):
        winner = next(filter(_is_ours, seen.conf.get(one.conf_dir, ())), None)
        if winner is None:
            yield Unknown(f"conf dir {one.conf_dir}: has none of ours; see conflist")
            continue
        missing = False
        for plugin in _types(winner):
            finding = _plugin(plugin, [seen.bins[path] for path in one.bin_dirs], winner)
            if finding:
                missing = True
                yield finding
        if not missing:
            yield Fine(f"{winner.path}: {', '.join(_types(winner))} can be executed")


def _plugin(name: str, dirs: list[BinDir], winner: ConfFile) -> Wrong | None:
    if any(name in at.programs for at in dirs):
        return None
    for at in dirs:
        if name in at.others:
            return Wrong(
                f"{at.path}/{name}: cannot be executed, and {winner.path} needs it",
                "every ADD fails, and of pods that are deleted addresses leak",
                executable(at, name),
            )
    install = f"ocicatctl install --bin-dir {dirs[0].path}"
    calico = " --calico" if name in CALICO_LAUNCHERS else ""
    if name in NAMES:
        mend = f"{install}{calico}"
    elif name in _REFERENCE:
        mend = (
            "apt-get install containernetworking-plugins && "
            f"ln -s /usr/lib/cni/{name} {dirs[0].path}/{name}"
        )
    else:
        mend = f"find / -xdev -type f -name {name}"
    return Wrong(
        f"{dirs[0].path}/{name}: is not there, and {winner.path} needs it",
        "every ADD fails, and of pods that are deleted addresses leak",
        mend,
    )


# ---- configurations ----------------------------------------------------------------------------


def winning(files: tuple[ConfFile, ...], network: str = "") -> ConfFile | None:
    """The file that counts: the first that is one, or the one of that network."""
    valid = [file for file in files if _document(file) is not None]
    named = [file for file in valid if network and (_document(file) or {}).get("name") == network]
    return next(iter(named or valid), None)


def _document(file: ConfFile) -> dict[str, Any] | None:
    """What a file says; ``None``: no runtime can use it."""
    try:
        document = json.loads(file.text or "")
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    plugins = document.get("plugins") if file.path.endswith(".conflist") else [document]
    if not isinstance(plugins, list) or not plugins:
        return None
    has_types = all(isinstance(p, dict) and isinstance(p.get("type"), str) for p in plugins)
    return document if has_types else None


def _types(file: ConfFile) -> list[str]:
    """The plugins of a file, those for addresses too; of ours the same program gives them."""
    document = _document(file) or {}
    plugins = document.get("plugins") or [document]
    ipam = [
        p["ipam"].get("type")
        for p in plugins
        if isinstance(p.get("ipam"), dict) and p["type"] not in NAMES
    ]
    return list(dict.fromkeys([*(p["type"] for p in plugins), *filter(None, ipam)]))


def _is_ours(file: ConfFile) -> bool:
    return _document(file) is not None and not {*NAMES}.isdisjoint(_types(file))


def _users(seen: Runtimes) -> list[Runtime]:
    """The runtimes that use CNI; without any, one that takes the usual directories."""
    return [one for one in seen.found if one.uses_cni] or [Runtime("", "")]


def _called(one: Runtime) -> str:
    return one.name or "a runtime"
