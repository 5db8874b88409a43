"""Print every module with the first line of its docstring."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = (
    "datamodel",
    "datastore",
    "ipam_api",
    "bird_api",
    "cni_plugin",
    "ipamd",
    "route_distributor",
    "ocicatctl",
)


def main() -> None:
    """Print the map, package by package."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "_pb2" in path.name:
                continue
            doc = ast.get_docstring(ast.parse(path.read_text())) or ""
            print(f"{path.relative_to(ROOT)!s:38} {doc.partition(chr(10))[0]}")


if __name__ == "__main__":
    main()
