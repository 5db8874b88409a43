"""Run a program to its end, with a deadline.

Edge: child processes.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from datamodel.errors import Unavailable

TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a program."""

    status: int  # below 0: the signal that killed it
    output: str  # stdout
    complaint: str  # stderr


async def run(
    *command: str, package: str, stdin: str = "", environment: Mapping[str, str] | None = None
) -> Ended:
    """Run *command*; it is killed when it takes too long, or when nobody waits for it any more.

    Args:
        package: Debian's, that has the program.

    Raises:
        Unavailable: it cannot be started, or did not end in time.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
    except OSError as error:
        why = error.strerror or error
        raise Unavailable(
            f"{command[0]}: cannot be started: {why}; install the package {package}"
        ) from error
    try:
        async with asyncio.timeout(TIMEOUT_S):
            output, complaint = await process.communicate(stdin.encode())
    except TimeoutError as error:
        said = " ".join(command[:2])
        raise Unavailable(f"{said}: did not end within {TIMEOUT_S:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
        status = await process.wait()
    return Ended(
        status,
        output.decode(errors="replace"),
        complaint.decode(errors="replace").strip(),
    )
