"""What the container runtime sees: its directories, the configuration that wins, our launchers.

Pure: no I/O.
"""

import json
from collections.abc import Iterator
from typing import Any

from ocicatctl.doctor.facts import BinDir, ConfFile, Facts, Installation, Launcher, Runtimes
from ocicatctl.doctor.finding import Finding, Fine, Unknown, Wrong
from ocicatctl.doctor.runtime_config import Runtime
from ocicatctl.doctor.settings import ENVIRONMENT_FILE
from ocicatctl.install.plan import Removing, removing
from ocicatctl.install.wanted import CALICO_LAUNCHERS, LAUNCHERS

_NAMES = (*LAUNCHERS, *CALICO_LAUNCHERS)


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
                _executable(having),
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


def _executable(at: BinDir, name: str = "") -> str:
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
    """Whether every plugin of the configuration that wins can be executed."""
    seen = facts.of(Runtimes)
    for one in _users(seen):
        winner = winning(seen.conf.get(one.conf_dir, ()), one.network)
        if winner is None:
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
                _executable(at, name),
            )
    is_ours = name in _NAMES
    install = f"ocicatctl install --bin-dir {dirs[0].path}"
    calico = " --calico" if name in CALICO_LAUNCHERS else ""
    reference = (
        "apt-get install containernetworking-plugins && "
        f"ln -s /usr/lib/cni/{name} {dirs[0].path}/{name}"
    )
    return Wrong(
        f"{dirs[0].path}/{name}: is not there, and {winner.path} needs it",
        "every ADD fails, and of pods that are deleted addresses leak",
        f"{install}{calico}" if is_ours else reference,
    )


def launchers(facts: Facts) -> Iterator[Finding]:
    """Whether each launcher answers, and is that of this version."""
    installation = facts.of(Installation)
    bins = facts.of(Runtimes).bins
    for one in installation.launchers:
        directory, _, name = one.path.rpartition("/")
        executable = _executable(bins.get(directory, BinDir(directory)), name)
        wrong = list(_launcher(one, facts.settings.cni, executable))
        yield from wrong
        if not wrong and one.proof is None:
            yield Unknown(f"{one.path}: not called, it is for another file system")
        elif not wrong:
            yield Fine(f"{one.path}: answers VERSION, and is of this version")
    if not installation.launchers:
        yield Unknown("no launcher of ours found; see bin-dir")


def _launcher(one: Launcher, socket: str, executable: str) -> Iterator[Wrong]:
    again = f"ocicatctl install --bin-dir {one.path.rpartition('/')[0]}"
    if not one.has_interpreter:
        yield Wrong(
            f"{one.path}: its interpreter {one.interpreter} is not there",
            "no call of the runtime gets through: every ADD and DEL fails",
            "apt-get install python3-minimal",
        )
    elif one.proof:
        yield Wrong(
            f"{one.path}: does not run ({one.proof})",
            "no call of the runtime gets through: every ADD and DEL fails",
            executable if "may not be executed" in one.proof else again,
        )
    if not one.has_fallback:
        yield Wrong(
            f"{one.path}: {one.fallback or 'the Python of Ocicat'} is not there",
            "while the CNI server is down, ADD and DEL fail",
            again,
            is_warning=True,
        )
    if one.socket != socket:
        yield Wrong(
            f"{one.path}: calls the CNI server at {one.socket}, not at {socket}",
            "each call is served by a process of its own, slowly, or not at all",
            f"OCICAT_CNI_SOCKET={socket} {again}",
        )
    if one.is_current is False:
        yield Wrong(
            f"{one.path}: is of another version than this ocicatctl",
            "launcher and server may not understand each other",
            again,
        )


def installation(facts: Facts) -> Iterator[Finding]:
    """Whether what was installed is there, whole."""
    seen = facts.of(Installation)
    for path in seen.unfinished:
        yield Wrong(
            f"{path}: is left of an install that was interrupted",
            "what is installed is of two versions",
            "ocicatctl install",
        )
    if seen.manifest is None:
        yield Fine("nothing is recorded as installed by ocicatctl install")
        return
    damaged = False
    for path, entry in seen.manifest.files.items():
        found = seen.found[path]
        what = "is not there" if not found.exists else "was changed since"
        if len(entry.digests) > 1:
            what = "may be of an older version: an install was interrupted"
        elif found.exists and (removing(entry, found) is not Removing.KEPT or _is_editable(path)):
            continue
        damaged = True
        name = path.rpartition("/")[2]
        is_launcher = name in _NAMES
        yield Wrong(
            f"{path}: {what}",
            "the node is not as install has left it",
            f"mv {path} {path}.changed && ocicatctl install"
            if is_launcher and found.exists and len(entry.digests) == 1
            else "ocicatctl install",
            is_warning=found.exists and not is_launcher,
        )
    if not damaged:
        yield Fine(f"{len(seen.manifest.files)} files are as ocicatctl install has left them")


def _is_editable(path: str) -> bool:
    """Whether it is the operator's from the moment that it is there."""
    return path.endswith(ENVIRONMENT_FILE.rpartition("/")[2])


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
        if isinstance(p.get("ipam"), dict) and p["type"] not in _NAMES
    ]
    return list(dict.fromkeys([*(p["type"] for p in plugins), *filter(None, ipam)]))


def _is_ours(file: ConfFile) -> bool:
    return _document(file) is not None and not {*_NAMES}.isdisjoint(_types(file))


def _users(seen: Runtimes) -> list[Runtime]:
    """The runtimes that use CNI; without any, one that takes the usual directories."""
    return [one for one in seen.found if one.uses_cni] or [Runtime("", "")]


def _called(one: Runtime) -> str:
    return one.name or "a runtime"
