"""The frame around every command: check the call, pick the command, print a result or an error.

Called with the same values by the server and by a process of its own: one code path.
"""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from cni_plugin import args as cni_args
from cni_plugin import call_log, result, stdin, versions
from cni_plugin.args import CmdArgs, Invocation, NetworkArgs
from cni_plugin.cmd_add import cmd_add
from cni_plugin.cmd_check import cmd_check
from cni_plugin.cmd_del import cmd_del
from cni_plugin.cmd_gc import cmd_gc
from cni_plugin.cmd_ipam import cmd_ipam_add, cmd_ipam_check, cmd_ipam_del
from cni_plugin.cmd_status import cmd_status
from cni_plugin.cni_error import INVALID_ENVIRONMENT, CniError, code_of
from cni_plugin.log_conf import log_conf_in
from cni_plugin.meter import UNDELIVERED, WAIT, outcome_of
from cni_plugin.parts import Parts, left_s
from cni_plugin.undo import Added, quietly
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
    begun, code = time.monotonic(), 0
    call_log.log_to(log_conf_in(invocation.stdin))
    try:
        answer = _run(command, invocation, parts)
        outcome = "ok"
    except Exception as error:
        if not isinstance(error, OcicatError):
            log.exception("bug")
        answer = failed(error, stdin.spoken_version(invocation.stdin))
        code = code_of(error)
        outcome = f"code={code} {str(error)!r}"
    took_s = time.monotonic() - begun
    parts.meter.count_call(command, outcome_of(code), took_s)
    log.info(
        "%s container=%s ifname=%s took_ms=%d %s",
        command,
        invocation.environment.get("CNI_CONTAINERID", ""),
        invocation.environment.get("CNI_IFNAME", ""),
        round(took_s * 1000),
        outcome,
    )
    return answer


def _run(command: str, invocation: Invocation, parts: Parts) -> Answer:
    if command == "VERSION":
        return Answer(0, result.printed(result.version_result()))
    if command in _FOR_NETWORK:
        network_args = cni_args.parse_for_network(invocation, command)
        network_args = replace(network_args, deadline=parts.deadline_of(command))
        _FOR_NETWORK[command](network_args, parts)
        return Answer(0)
    if command not in cni_args.REQUIRED:
        raise CniError(INVALID_ENVIRONMENT, f"unknown CNI_COMMAND: {command}")
    args = cni_args.parse(invocation, command)
    args = replace(args, deadline=parts.deadline_of(command))
    # A DEL that overtakes its ADD waits for it, and then removes what it made.
    with ExitStack() as held:
        with parts.meter.step(WAIT):
            lock = parts.locks.held(args.attachment.handle_id, left_s(args.deadline))
            held.enter_context(lock)
        if command == "ADD":
            return _add(args, parts, cmd_ipam_add if invocation.is_ipam else cmd_add)
        (_IPAM_COMMANDS if invocation.is_ipam else _COMMANDS)[command](args, parts)
        return Answer(0)


def _add(args: CmdArgs, parts: Parts, command: Callable[[CmdArgs, Parts], Added]) -> Answer:
    if not args.is_caller_there():
        raise Unavailable("the runtime gave up before this ADD began")
    added = command(args, parts)

    def take_back() -> None:
        parts.meter.count_rollback(UNDELIVERED)
        with parts.locks.held(args.attachment.handle_id):
            quietly(added.undo)

    return Answer(0, result.printed(added.result), take_back=take_back)


_COMMANDS: dict[str, Callable[[CmdArgs, Parts], None]] = {"DEL": cmd_del, "CHECK": cmd_check}
_IPAM_COMMANDS = {"DEL": cmd_ipam_del, "CHECK": cmd_ipam_check}
_FOR_NETWORK: dict[str, Callable[[NetworkArgs, Parts], None]] = {
    "GC": cmd_gc,
    "STATUS": cmd_status,
}


def failed(error: Exception, version: str = versions.NEWEST) -> Answer:
    """The answer that reports *error*."""
    details = error.details if isinstance(error, CniError) else ""
    document: dict[str, Any] = result.error_result(
        code_of(error), str(error) or type(error).__name__, details, version
    )
    return Answer(1, result.printed(document))
