"""Puts a standard library behind a program: compiled, as a zip file that it imports from.

Edge: files. The library is what Debian counts as minimal, so that of the package
libpython3.11-minimal; modules that need a file of their own (C extensions) are not in it.
"""

import py_compile
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

LIBRARY = Path(sysconfig.get_path("stdlib"))


def main(program: Path) -> None:
    """Append the library to *program*."""
    package = f"libpython{sysconfig.get_python_version()}-minimal"
    listed = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=True)
    paths = [Path(line) for line in listed.stdout.splitlines() if line.endswith(".py")]
    modules = sorted(path for path in paths if path.is_relative_to(LIBRARY))
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(program, "a") as library:
        compiled = Path(scratch, "compiled")
        for path in modules:
            name = str(path.relative_to(LIBRARY))
            py_compile.compile(
                str(path),
                str(compiled),
                name,
                doraise=True,
                optimize=2,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
            # No time of today in it: the same each time, so that nodes need no new one.
            library.writestr(zipfile.ZipInfo(f"{name}c"), compiled.read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
