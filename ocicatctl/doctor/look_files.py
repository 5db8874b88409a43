"""Looks at the runtimes, at what is installed, and at who else may configure our links.

Edge: files, through ``node_files.py``; the launchers are called through ``programs.py``.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from datamodel.errors import OcicatError
from ocicatctl.doctor import launcher_text, runtime_config
from ocicatctl.doctor.drop_ins import DropIn, effective
from ocicatctl.doctor.facts import BinDir, ConfFile, DropIns, Installation, Launcher, Runtimes
from ocicatctl.doctor.node_files import NodeFiles
from ocicatctl.doctor.programs import answers_version
from ocicatctl.doctor.runtime_config import Runtime
from ocicatctl.doctor.settings import Settings
from ocicatctl.install import conflist, launcher
from ocicatctl.install.plan import temporary
from ocicatctl.install.wanted import CALICO_LAUNCHERS, LAUNCHERS

_SYSTEMD = ("/etc/systemd/network", "/run/systemd/network", "/usr/lib/systemd/network")
_NETWORK_MANAGER = (
    "/etc/NetworkManager/conf.d",
    "/run/NetworkManager/conf.d",
    "/usr/lib/NetworkManager/conf.d",
)


def look_at_drop_ins(settings: Settings) -> Iterator[object]:
    """What NetworkManager, systemd-networkd and udev are told of links."""
    files = NodeFiles(settings)

    def read(directories: Sequence[str], pattern: str) -> list[list[DropIn]]:
        return [
            [DropIn(path, text) for path, text in files.texts(f"{directory}/{pattern}")]
            for directory in directories
        ]

    own, *vendors = read(_NETWORK_MANAGER, "*.conf")
    names = {file.name for file in own}
    # Those of vendors come first, then the main file, then the operator's.
    main = [DropIn(*found) for found in files.texts("/etc/NetworkManager/NetworkManager.conf")]
    below = [file for file in effective(vendors) if file.name not in names]
    yield DropIns(
        (*below, *main, *effective([own])),
        tuple(effective(read(_SYSTEMD, "*.network"))),
        tuple(effective(read(_SYSTEMD, "*.link"))),
    )


def look_at_runtimes(settings: Settings) -> Iterator[object]:
    """The runtimes and where they look; then what is installed there."""
    files = NodeFiles(settings)
    found = tuple(_runtimes(settings, files))
    used = [runtime for runtime in found if runtime.uses_cni] or [Runtime("", "")]
    conf = {runtime.conf_dir: _conf(files, runtime.conf_dir) for runtime in used}
    bins = {path: _bin(files, path) for runtime in used for path in runtime.bin_dirs}
    yield Runtimes(found, conf, bins)
    yield _installation(settings, files, bins)


# ---- runtimes ----------------------------------------------------------------------------------


def _runtimes(settings: Settings, files: NodeFiles) -> Iterator[Runtime]:
    if settings.bin_dir or settings.conf_dir:
        yield Runtime(
            "the runtime",
            "the command line",
            (settings.bin_dir or runtime_config.BIN_DIR,),
            settings.conf_dir or runtime_config.CONF_DIR,
        )
        return
    running = files.processes()
    arguments = running.get("containerd", [])
    path = runtime_config.option(arguments, "-c", "--config") or "/etc/containerd/config.toml"
    texts = files.texts(path)
    if texts:
        for pattern in runtime_config.imports(texts[0][1]):
            texts += files.texts(os.path.join(os.path.dirname(path), pattern))
    if texts or arguments:
        yield runtime_config.containerd(texts, is_running=bool(arguments))
    arguments = running.get("crio", [])
    path = runtime_config.option(arguments, "-c", "--config") or "/etc/crio/crio.conf"
    more = runtime_config.option(arguments, "-d", "--config-dir") or "/etc/crio/crio.conf.d"
    texts = files.texts(path, f"{more}/*")
    if texts or arguments:
        yield runtime_config.crio(texts, arguments, is_running=bool(arguments))
    texts = files.texts(
        "/usr/share/containers/containers.conf",
        "/etc/containers/containers.conf",
        "/etc/containers/containers.conf.d/*.conf",
    )
    if texts:
        yield runtime_config.podman(texts)


def _conf(files: NodeFiles, directory: str) -> tuple[ConfFile, ...]:
    paths = [
        str(PurePosixPath(directory, name))
        for name in files.names(directory)
        if name.endswith(conflist.SUFFIXES)
    ]
    return tuple(ConfFile(path, files.text(path)) for path in paths)


def _bin(files: NodeFiles, directory: str) -> BinDir:
    here = files.at(directory)
    if not here.is_dir():
        return BinDir(directory, exists=False)
    names = files.names(directory)
    programs = {name for name in names if files.disk.is_program(f"{directory}/{name}")}
    is_noexec = bool(os.statvfs(here).f_flag & os.ST_NOEXEC)
    return BinDir(
        directory, True, frozenset(programs), frozenset(names) - programs, is_noexec=is_noexec
    )


# ---- what is installed -------------------------------------------------------------------------


def _installation(settings: Settings, files: NodeFiles, bins: Mapping[str, BinDir]) -> Installation:
    manifest = files.disk.recall()
    recorded = manifest.files if manifest else {}
    names = (*LAUNCHERS, *CALICO_LAUNCHERS)
    paths = [path for path in recorded if PurePosixPath(path).name in names]
    paths += [f"{path}/{name}" for path, at in bins.items() for name in names if _has(at, name)]
    texts = {path: files.text(path) or "" for path in dict.fromkeys(paths)}
    ours = {path: text for path, text in texts.items() if launcher_text.is_ours(text)}
    expected = _expected() if ours else None
    return Installation(
        manifest,
        {path: files.disk.look(path) for path in recorded},
        tuple(path for path in map(temporary, recorded) if files.disk.look(path).exists),
        tuple(_launcher(settings, files, path, text, expected) for path, text in ours.items()),
    )


def _has(directory: BinDir, name: str) -> bool:
    return name in directory.programs or name in directory.others


def _expected() -> str | None:
    try:
        return launcher_text.program(launcher.text({}))  # of settings it is independent
    except OcicatError:
        return None


def _launcher(
    settings: Settings, files: NodeFiles, path: str, text: str, expected: str | None
) -> Launcher:
    interpreter = launcher_text.interpreter(text)
    fallback = launcher_text.fallback(text)
    return Launcher(
        path,
        interpreter,
        files.disk.is_program(interpreter),
        fallback,
        files.disk.is_program(fallback),
        launcher_text.socket(text),
        None if expected is None else launcher_text.program(text) == expected,
        None if settings.is_elsewhere else answers_version(path),
    )
