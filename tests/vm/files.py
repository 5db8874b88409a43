"""Which of this host's files a guest gets: programs, this interpreter, its packages, libraries.

Edge: reads the host's files, ldd(1). Everything has the same path in the guest as here.
"""

import functools
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from ocicatctl.lab.system import BASE_ENVIRONMENT

PROGRAMS = (
    *("busybox", "ip", "modprobe", "nft", "nsenter", "ping", "sh"),
    *("bird", "birdc", "etcd", "etcdctl"),
)
# Of the standard library: large, and nothing that a daemon imports.
_LEFT_OUT = frozenset(
    {"site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo"}
    | {"ensurepip", "lib2to3", "pydoc_data"}
)
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def find(program: str) -> Path | None:
    """Where a program is."""
    found = shutil.which(program, path=BASE_ENVIRONMENT["PATH"])
    return Path(found) if found else None


def of_guest() -> list[Path]:
    """Every file, sorted. Our own packages are not among them: they change too often."""
    programs = [path for path in map(find, PROGRAMS) if path]
    files = {*programs, *_interpreter(), *_distribution("ocicat")}
    return sorted(files | set(_libraries(files)))


def _interpreter() -> Iterator[Path]:
    """This Python, as the virtual environment sees it, and its standard library."""
    yield Path(sys.executable).resolve()
    yield Path(sys.prefix) / "pyvenv.cfg"
    if (debian := Path("/usr/bin/python3")).resolve() == Path(sys.executable).resolve():
        yield debian
    library = Path(sysconfig.get_path("stdlib"))
    for path in library.rglob("*"):
        parts = path.relative_to(library).parts
        is_config = parts[0].startswith("config-")  # for linking programs with Python
        if path.is_file() and not is_config and not _LEFT_OUT.intersection(parts):
            yield path


@functools.cache
def _distribution(name: str) -> frozenset[Path]:
    """The files of an installed distribution and of those that it needs to run."""
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return frozenset()  # needed on other systems only
    # Programs have "../../../bin/..." for a path; a package's own files lie below site-packages.
    inside = (file for file in distribution.files or () if ".." not in file.parts)
    found = {path for path in (Path(str(file.locate())) for file in inside) if path.is_file()}
    for requirement in distribution.requires or ():
        name, _, marker = requirement.partition(";")
        if "extra" not in marker and (match := _NAME.match(name)):
            found |= _distribution(match[0])
    return frozenset(found)


def _libraries(files: Iterable[Path]) -> Iterator[Path]:
    """The shared libraries that the programs and modules among *files* are linked with."""
    linked = [path for path in files if _is_elf(path)]
    done = subprocess.run(
        ["ldd", *map(str, linked)], capture_output=True, text=True, check=False, timeout=60
    )
    for found in re.findall(r"(?:=> |^\t)(/\S+) \(0x", done.stdout, re.MULTILINE):
        yield Path(found)


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"
