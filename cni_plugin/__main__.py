"""One call in a process of its own: what the launcher starts when there is no server."""

import contextlib
import os
import sys
from typing import NoReturn

from cni_plugin import call_log
from cni_plugin.args import Invocation
from cni_plugin.config import make_parts, read_config
from cni_plugin.reporter import reporting
from cni_plugin.skel import failed, run
from datamodel.errors import OcicatError


def main() -> None:
    """Serve the call that environment and stdin describe; exit as the CNI demands."""
    # stderr is free text for people; the result alone goes to stdout.
    call_log.set_up("WARNING")
    with call_log.following(os.environ):
        _serve()


def _serve() -> NoReturn:
    try:
        parts = make_parts(read_config(os.environ))
        # Beside an ADD do what the server would: ipamd gives out nothing before it has a report.
        is_add = os.environ.get("CNI_COMMAND") == "ADD"
        with reporting(parts.ipam) if is_add else contextlib.nullcontext():
            answer = run(_invocation(), parts)
    except OcicatError as error:
        answer = failed(error)
    with contextlib.suppress(OSError):
        _write(2, answer.stderr)
    try:
        _write(1, answer.stdout)
    except OSError:
        if answer.take_back:
            answer.take_back()
        os._exit(1)
    os._exit(answer.exit_code)  # gRPC's threads need not be waited for


def _invocation() -> Invocation:
    netns_fd, netns_mistake = _open(os.environ.get("CNI_NETNS", ""))
    stdin, stdin_mistake = b"", ""
    if os.environ.get("CNI_COMMAND", "") not in ("", "VERSION"):
        try:
            stdin = b"".join(iter(lambda: os.read(0, 65536), b""))
        except OSError as error:
            stdin_mistake = f"cannot be read: {error.strerror}"
    role = sys.argv[1] if len(sys.argv) > 1 else "ocicat"
    return Invocation(os.environ, stdin, netns_fd, netns_mistake, stdin_mistake, role)


def _open(path: str) -> tuple[int | None, str]:
    if not path:
        return None, "is empty"
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), ""
    except (OSError, ValueError) as error:
        return None, f"cannot be opened: {getattr(error, 'strerror', error)}"


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


if __name__ == "__main__":
    main()
