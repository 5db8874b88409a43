"""Which files an installation has, and what is in them.

Pure: no I/O. Paths are those on the node, wherever its file system is mounted meanwhile.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import PurePosixPath

from ocicatctl.install import conflist

LAUNCHERS = ("ocicat", "ocicat-ipam")
CALICO_LAUNCHERS = ("calico", "calico-ipam")

# Links that only we configure: pods' host ends and tunnels. The three programs take the same globs.
_LINKS = ("cali*", "tunl*", "vxlan.calico", "vxlan-v6.calico")
_OURS = "# Put here by ocicatctl install; ocicatctl uninstall removes it.\n"
# "+=" adds to the operator's list; a later file that says "=" would drop ours, so it comes last.
_NETWORK_MANAGER = f"""{_OURS}\
[keyfile]
unmanaged-devices+={";".join(f"interface-name:{link}" for link in _LINKS)}
"""
# The first file that matches a link decides, here and in the next: hence 05-, before 10-anything.
_NETWORKD = f"""{_OURS}\
[Match]
Name={" ".join(_LINKS)}

[Link]
Unmanaged=yes
"""
_UDEV = f"""{_OURS}\
[Match]
OriginalName={" ".join(_LINKS)}

[Link]
NamePolicy=keep
MACAddressPolicy=none
"""


@dataclass(frozen=True, slots=True)
class File:
    """One file as it shall be."""

    path: str
    content: bytes
    mode: int
    is_launcher: bool = False
    is_interpreter: bool = False  # of the launchers
    is_operators: bool = False  # only a beginning: what is there already stays

    @property
    def digest(self) -> str:
        """By which it is known again."""
        return digest(self.content)


def digest(content: bytes) -> str:
    """By which a content is known again."""
    return sha256(content).hexdigest()


@dataclass(frozen=True, slots=True)
class Directories:
    """Where the files belong, and what the configuration is called."""

    bin: str = "/opt/cni/bin"
    conf: str = "/etc/cni/net.d"
    networkmanager: str = "/etc/NetworkManager/conf.d"
    networkd: str = "/etc/systemd/network"
    units: str = "/etc/systemd/system"
    etc: str = "/etc/ocicat"
    conf_name: str = conflist.NAME


# A file that is in a directory of each kind, whatever else is: by the record they are known again.
_MARKS = {
    LAUNCHERS[0]: "bin",
    conflist.NAME: "conf",
    "zz-ocicat.conf": "networkmanager",
    "05-ocicat.network": "networkd",
    "ocicat.target": "units",
    "ocicat.env": "etc",
}


def directories(recorded: Iterable[str]) -> Directories:
    """Where the files of an installation are, by their recorded paths."""
    places = {PurePosixPath(path).name: str(PurePosixPath(path).parent) for path in recorded}
    return Directories(**{kind: places[name] for name, kind in _MARKS.items() if name in places})


def names(directory: str, recorded: Iterable[str], *, for_calico: bool) -> tuple[str, ...]:
    """What the launchers are called; Calico's names, once asked for, stay until uninstall."""
    paths = {str(PurePosixPath(directory, name)) for name in CALICO_LAUNCHERS}
    return LAUNCHERS + (CALICO_LAUNCHERS if for_calico or paths & {*recorded} else ())


def files(
    directories: Directories,
    names: Sequence[str],
    launcher: str,
    configuration: str | None,
    more: Iterable[File] = (),
) -> tuple[File, ...]:
    """Every file, in the order in which they are put in place.

    The configuration comes last: it makes the runtimes use the rest. ``None``: it stays as it is.

    Args:
        more: units, and what starts the launchers if the node has nothing that does.
    """

    def path(directory: str, name: str) -> str:
        return str(PurePosixPath(directory, name))

    further = tuple(more)
    return (
        *(file for file in further if file.is_interpreter),
        *(
            File(path(directories.bin, name), launcher.encode(), 0o755, is_launcher=True)
            for name in names
        ),
        File(path(directories.networkmanager, "zz-ocicat.conf"), _NETWORK_MANAGER.encode(), 0o644),
        File(path(directories.networkd, "05-ocicat.network"), _NETWORKD.encode(), 0o644),
        File(path(directories.networkd, "05-ocicat.link"), _UDEV.encode(), 0o644),
        *(file for file in further if not file.is_interpreter),
        # 0600 as Calico's: templates may name secrets.
        *(
            File(path(directories.conf, directories.conf_name), text.encode(), 0o600)
            for text in (configuration,)
            if text is not None
        ),
    )
