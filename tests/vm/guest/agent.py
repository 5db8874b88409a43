"""Runs in a guest: executes the commands that the host sends over a virtio port, one by one.

Edge: /dev, subprocess. A message is a line of JSON, then the bytes whose number the line tells:
``{"command": [...], "environment": {...}, "timeout_s": 9, "stdin": 0}`` is answered by
``{"status": 0, "stdout": 12, "stderr": 0}``. A command that did not end in time has no status.
"""

import io
import json
import subprocess
from pathlib import Path
from typing import Any

NAME = "ocicat.agent"
READY = b"ready"  # said when it begins to serve, before any command


def main() -> None:
    """Serve until the host hangs up."""
    [port] = [p for p in Path("/sys/class/virtio-ports").iterdir() if _name(p) == NAME]
    with open(f"/dev/{port.name}", "r+b", buffering=0) as device:  # can be opened only once
        host = io.BufferedRWPair(device, device)
        _answer(host, {"status": 0}, READY, b"")
        while line := host.readline():
            request = json.loads(line)
            _answer(host, *_run(request, host.read(request["stdin"])))


def _name(port: Path) -> str:
    name = port / "name"
    return name.read_text().strip() if name.exists() else ""


def _run(request: dict[str, Any], stdin: bytes) -> tuple[dict[str, Any], bytes, bytes]:
    try:
        done = subprocess.run(
            request["command"],
            env=request["environment"],
            input=stdin,
            capture_output=True,
            timeout=request["timeout_s"],
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return {"status": None}, late.stdout or b"", late.stderr or b""
    except OSError as error:
        return {"status": 127}, b"", str(error).encode()
    return {"status": done.returncode}, done.stdout, done.stderr


def _answer(host: io.BufferedRWPair, head: dict[str, Any], stdout: bytes, stderr: bytes) -> None:
    head |= {"stdout": len(stdout), "stderr": len(stderr)}
    host.write(json.dumps(head).encode() + b"\n" + stdout + stderr)
    host.flush()


if __name__ == "__main__":
    main()
