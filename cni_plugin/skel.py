"""The frame around every command: check the call, pick the command, print a result or an error.

Called with the same values by the server and by a process of its own: one code path.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from cni_plugin import args as cni_args
from cni_plugin import result, stdin, versions
from cni_plugin.args import CmdArgs, Invocation
from cni_plugin.cmd_add import cmd_add
from cni_plugin.cmd_check import cmd_check
from cni_plugin.cmd_del import cmd_del
from cni_plugin.cni_error import INVALID_ENVIRONMENT, CniError, code_of
from cni_plugin.parts import Parts, left_s
from cni_plugin.undo import quietly
from datamodel.errors import OcicatError, Unavailable

log = logging.getLogger(__name__)

ABOUT = (
    "ocicat, a CNI plugin; it is called by a container runtime, with CNI_COMMAND in the environment"
    f"\nCNI protocol versions supported: {', '.join(versions.SUPPORTED)}\n"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the executable does in the end."""

    exit_code: int
    stdout: bytes = b""
    stderr: bytes = b""
    # Takes back what was done if the answer does not reach the runtime.
    take_back: Callable[[], None] | None = None


def run(invocation: Invocation, parts: Parts) -> Answer:
    """Serve one call. Never raises: whatever goes wrong becomes an error on stdout."""
    command = invocation.environment.get("CNI_COMMAND", "")
    if not command:
        return Answer(0, stderr=ABOUT.encode())
    begun = time.monotonic()
    try:
        answer = _run(command, invocation, parts)
        outcome = "ok"
    except Exception as error:
        if not isinstance(error, OcicatError):
            log.exception("bug")
        answer = failed(error, stdin.spoken_version(invocation.stdin))
        outcome = f"code={code_of(error)} {str(error)!r}"
    log.info(
        "%s container=%s ifname=%s took_ms=%d %s",
        command,
        invocation.environment.get("CNI_CONTAINERID", ""),
        invocation.environment.get("CNI_IFNAME", ""),
        round((time.monotonic() - begun) * 1000),
        outcome,
    )
    return answer


def _run(command: str, invocation: Invocation, parts: Parts) -> Answer:
    if command == "VERSION":
        return Answer(0, result.printed(result.version_result()))
    if command not in _COMMANDS:
        raise CniError(INVALID_ENVIRONMENT, f"unknown CNI_COMMAND: {command}")
    args = cni_args.parse(invocation, command)
    args = replace(args, deadline=parts.deadline_of(command))
    # A DEL that overtakes its ADD waits for it, and then removes what it made.
    with parts.locks.held(args.attachment.handle_id, left_s(args.deadline)):
        return _COMMANDS[command](args, parts)


def _add(args: CmdArgs, parts: Parts) -> Answer:
    if not args.is_caller_there():
        raise Unavailable("the runtime gave up before this ADD began")
    network, undo = cmd_add(args, parts)

    def take_back() -> None:
        with parts.locks.held(args.attachment.handle_id):
            quietly(undo)

    document = result.add_result(network, args.netns, args.conf)
    return Answer(0, result.printed(document), take_back=take_back)


def _del(args: CmdArgs, parts: Parts) -> Answer:
    cmd_del(args, parts)
    return Answer(0)


def _check(args: CmdArgs, parts: Parts) -> Answer:
    cmd_check(args, parts)
    return Answer(0)


_COMMANDS: dict[str, Callable[[CmdArgs, Parts], Answer]] = {
    "ADD": _add,
    "DEL": _del,
    "CHECK": _check,
}


def failed(error: Exception, version: str = versions.NEWEST) -> Answer:
    """The answer that reports *error*."""
    details = error.details if isinstance(error, CniError) else ""
    document: dict[str, Any] = result.error_result(
        code_of(error), str(error) or type(error).__name__, details, version
    )
    return Answer(1, result.printed(document))
