"""What the tests' containers consist of: one static busybox, and a web server that says who asked.

Edge: files, tar(1). The same tree is written as a directory (for podman) and as an image in OCI
layout (for containerd), so nothing comes from a registry.
"""

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from pathlib import Path

IMAGE = "localhost/pod:1"
# Process 1 of a namespace gets no SIGTERM that it does not handle, and a node that shuts down waits
# 90 s for whoever does not end: this one does.
SERVE = ("/bin/sh", "-c", "trap exit TERM; httpd -f -p 0.0.0.0:80 -h /www & wait")
BUSYBOX = Path("/bin/busybox")
LARGE = 1_000_000  # bytes of the file /large

_APPLETS = ("sh", "httpd", "ip", "wget")
_FOLDERS = ("bin", "dev", "etc", "proc", "sys", "tmp", "www/cgi-bin")
_WHO = b"""#!/bin/sh
echo
set -- $(ip -4 -o addr show dev eth0)
echo "${4%/*} asked by $REMOTE_ADDR"
"""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_directory(root: Path) -> None:
    """Write the tree below *root*."""
    root.mkdir()
    subprocess.run(["tar", "-x", "-C", root], input=_layer(), check=True)


def write_image(path: Path) -> None:
    """Write the tree as an image of one layer, named ``IMAGE``."""
    layer = _layer()
    config = {
        "architecture": _ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {"Cmd": SERVE, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    }
    kind = "application/vnd.oci.image"
    with tarfile.open(path, "w") as tar:

        def blob(media_type: str, content: bytes, **more: object) -> dict[str, object]:
            digest = _digest(content)
            _add(tar, f"blobs/{digest.replace(':', '/')}", content)
            return {"mediaType": media_type, "digest": digest, "size": len(content), **more}

        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": blob(f"{kind}.config.v1+json", json.dumps(config).encode()),
            "layers": [blob(f"{kind}.layer.v1.tar", layer)],
        }
        named = {"annotations": {"io.containerd.image.name": IMAGE}}
        manifests = [blob(f"{kind}.manifest.v1+json", json.dumps(manifest).encode(), **named)]
        _add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        index = {"schemaVersion": 2, "manifests": manifests}
        _add(tar, "index.json", json.dumps(index).encode())


def _layer() -> bytes:
    """The tree as a tar file, the same each time."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for folder in _FOLDERS:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        _add(tar, "bin/busybox", BUSYBOX.read_bytes(), 0o755)
        for applet in _APPLETS:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
        _add(tar, "www/cgi-bin/who", _WHO, 0o755)
        _add(tar, "www/large", bytes(LARGE))
    return content.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
