"""Regenerate the gRPC code from proto/; with --check only say whether it is stale."""

import filecmp
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent.parent

# .proto file -> the package its generated code lives in.
SOURCES = {
    "proto/ocicat/ipam/v1/ipam.proto": "ipam_api",
    "proto/etcd/v3/etcd.proto": "datastore",
    "proto/cri/v1/cri.proto": "tests/runtimes",
}


def generate(out: Path) -> list[str]:
    """Write the generated files below *out*; return their paths, relative to it."""
    made = []
    for source, package in SOURCES.items():
        (out / package).mkdir(parents=True, exist_ok=True)
        folder, name = (ROOT / source).parent, Path(source).name
        # "-Ipackage=folder" makes protoc believe that the file lies in the package, so that the
        # generated import reads "from package import …".
        arguments = [
            "protoc",
            f"-I{package}={folder}",
            f"--python_out={out}",
            f"--pyi_out={out}",
            f"--grpc_python_out={out}",
            f"{package}/{name}",
        ]
        if protoc.main(arguments):
            raise SystemExit(f"{source}: protoc refused it")
        stem = Path(name).stem
        made += [f"{package}/{stem}_pb2{end}" for end in (".py", ".pyi", "_grpc.py")]
    return made


def stale() -> list[str]:
    """Name the committed files that differ from what proto/ gives today."""
    with tempfile.TemporaryDirectory() as scratch:
        made = generate(Path(scratch))
        return [
            path
            for path in made
            if not (ROOT / path).exists()
            or not filecmp.cmp(ROOT / path, Path(scratch) / path, shallow=False)
        ]


def main() -> None:
    """Write the files, or with --check name the stale ones and leave with status 1."""
    if "--check" in sys.argv[1:]:
        if old := stale():
            raise SystemExit(f"stale: {', '.join(old)}; run make proto")
        return
    for path in generate(ROOT):
        print(path)


if __name__ == "__main__":
    main()
