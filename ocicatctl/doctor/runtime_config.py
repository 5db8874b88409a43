"""Where container runtimes look for CNI plugins and configurations, by their own settings.

Pure: no I/O. containerd's config.toml of versions 1 to 3, CRI-O's crio.conf, podman's
containers.conf, each with what its command line says on top.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BIN_DIR, CONF_DIR = "/opt/cni/bin", "/etc/cni/net.d"  # what all of them take if nothing is said

Text = tuple[str, str]  # a file's path and content


@dataclass(frozen=True, slots=True)
class Runtime:
    """A container runtime and where it looks."""

    name: str
    source: str  # where that is said
    bin_dirs: tuple[str, ...] = (BIN_DIR,)  # the first that has a plugin counts
    conf_dir: str = CONF_DIR
    network: str = ""  # the name of the network that it takes; "": the first file's
    is_running: bool = False
    uses_cni: bool = True
    mistake: str = ""  # why its settings are not known


# Where each version of containerd's file has the CNI section.
_CONTAINERD = (
    ("io.containerd.cri.v1.runtime", "cni"),
    ("io.containerd.grpc.v1.cri", "cni"),
    ("cri", "cni"),
)
_CRI_PLUGINS = {"cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"}


def containerd(texts: Sequence[Text], *, is_running: bool) -> Runtime:
    """Read containerd's file and those that it imports, in their order."""
    source = texts[0][0] if texts else "its defaults"
    documents, mistake = _documents(texts)
    section: dict[str, Any] = {}
    disabled: set[str] = set()
    for document in documents:
        disabled |= set(map(str, document.get("disabled_plugins") or ()))
        for path in _CONTAINERD:
            section |= _table(document.get("plugins"), *path)
    bin_dirs = section.get("bin_dirs") or [section.get("bin_dir") or BIN_DIR]
    return Runtime(
        "containerd",
        source,
        tuple(map(str, bin_dirs)),
        str(section.get("conf_dir") or CONF_DIR),
        is_running=is_running,
        uses_cni=not disabled & _CRI_PLUGINS,
        mistake=mistake,
    )


def imports(text: str) -> tuple[str, ...]:
    """What else containerd reads: paths and globs."""
    try:
        return tuple(map(str, tomllib.loads(text).get("imports") or ()))
    except tomllib.TOMLDecodeError:
        return ()


def crio(texts: Sequence[Text], arguments: Sequence[str], *, is_running: bool) -> Runtime:
    """Read CRI-O's files, in their order, and what its command line says."""
    documents, mistake = _documents(texts)
    section: dict[str, Any] = {}
    for document in documents:
        section |= _table(document, "crio", "network")
    given = option(arguments, "--cni-plugin-dir")
    bin_dirs = given.split(",") if given else section.get("plugin_dirs") or [BIN_DIR]
    conf_dir = option(arguments, "--cni-config-dir") or section.get("network_dir") or CONF_DIR
    return Runtime(
        "CRI-O",
        texts[-1][0] if texts else "its defaults",
        tuple(_directory(str(path)) for path in bin_dirs),
        _directory(str(conf_dir)),
        str(section.get("cni_default_network") or ""),
        is_running=is_running,
        mistake=mistake,
    )


def podman(texts: Sequence[Text]) -> Runtime:
    """Read podman's files, in their order; it uses CNI only if it is told to."""
    documents, mistake = _documents(texts)
    section: dict[str, Any] = {}
    for document in documents:
        section |= _table(document, "network")
    bin_dirs = section.get("cni_plugin_dirs") or [BIN_DIR]
    return Runtime(
        "podman",
        texts[-1][0] if texts else "its defaults",
        tuple(map(str, bin_dirs)),
        str(section.get("network_config_dir") or CONF_DIR),
        str(section.get("default_network") or ""),
        uses_cni=section.get("network_backend") == "cni",
        mistake=mistake,
    )


def option(arguments: Sequence[str], *names: str) -> str:
    """The value of an option on a command line; "" if it is not there."""
    for place, argument in enumerate(arguments):
        name, has_value, value = argument.partition("=")
        if name in names:
            return value if has_value else next(iter(arguments[place + 1 :]), "")
    return ""


def _documents(texts: Sequence[Text]) -> tuple[list[dict[str, Any]], str]:
    found = []
    for path, text in texts:
        try:
            found.append(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            return found, f"{path}: is not TOML: {error}"
    return found, ""


def _table(document: Any, *path: str) -> dict[str, Any]:
    for name in path:
        document = document.get(name) if isinstance(document, Mapping) else None
    return dict(document) if isinstance(document, Mapping) else {}


def _directory(path: str) -> str:
    return path.rstrip("/") or "/"
