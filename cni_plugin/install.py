"""Installs the launcher into a CNI bin directory: written whole, renamed, and proved by a call.

Edge: files, subprocess. Several installations (labs, tests) live side by side: each launcher knows
its own server.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from cni_plugin.config import Config, read_config
from cni_plugin.result import printed, version_result
from datamodel.errors import OcicatError, Unavailable

LAUNCHER = Path(__file__).with_name("launcher.py")
SYSTEM_PYTHON = "/usr/bin/python3"
PROOF_TIMEOUT_S = 30  # an emulated processor has needed more than 10


def main() -> None:
    """Install as the command line and the OCICAT_ environment say."""
    parser = argparse.ArgumentParser(prog="python -m cni_plugin.install", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--print", action="store_true", help="only print the launcher")
    what.add_argument("--prove", nargs="+", metavar="FILE", help="only call these launchers")
    what.add_argument("directory", nargs="?", help="CNI bin directory, usually /opt/cni/bin")
    parser.add_argument("names", nargs="*", default=["ocicat"], help="names to install under")
    parser.add_argument("--interpreter", metavar="PATH", help="what starts it; default: found")
    parser.add_argument(
        "--waits", action="store_true", help="it waits for the server instead of serving a call"
    )
    arguments = parser.parse_args()
    try:
        config = read_config(os.environ)
        if arguments.print:
            sys.stdout.write(launcher(config, arguments.interpreter, is_waiting=arguments.waits))
        elif arguments.prove:
            for path in arguments.prove:
                prove(Path(path), arguments.interpreter)
        else:
            for name in arguments.names or ["ocicat"]:
                install(Path(arguments.directory) / name, config, is_waiting=arguments.waits)
    except (OcicatError, OSError) as error:
        sys.exit(str(error))


def install(target: Path, config: Config, *, is_waiting: bool = False) -> None:
    """Put a launcher for the server of *config* at *target*, replacing what is there.

    Raises:
        Unavailable: the launcher does not run; what was there before stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.new")
    temporary.write_text(launcher(config, is_waiting=is_waiting))
    temporary.chmod(0o755)
    try:
        prove(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def launcher(config: Config, interpreter: str | None = None, *, is_waiting: bool = False) -> str:
    """The launcher's source for one installation.

    Args:
        interpreter: what the node starts it with; else the one that it finds here.
        is_waiting: it waits for a server that is not there, since the node has nothing else.
    """
    in_process = [] if is_waiting else [sys.executable, "-I", "-m", "cni_plugin"]
    settings = {} if is_waiting else _settings(config)
    constants = {
        'SERVER = ""': f"SERVER = {config.socket!r}",
        "IN_PROCESS: list[str] = []": f"IN_PROCESS: list[str] = {in_process!r}",
        "SETTINGS: dict[str, str] = {}": f"SETTINGS: dict[str, str] = {settings!r}",
        'VERSIONS = b""': f"VERSIONS = {printed(version_result())!r}",
    }
    source = LAUNCHER.read_text()
    for line, filled in constants.items():
        if source.count(line) != 1:
            raise AssertionError(f"{LAUNCHER.name} has no single line {line!r}")
        source = source.replace(line, filled)
    interpreter = interpreter or _interpreter()
    # -I: nothing of the caller's environment or directory; -S: no site-packages. 5 ms to start.
    return f"#!{interpreter} -IS\n{_with_code(source, interpreter)}"


def _with_code(source: str, interpreter: str) -> str:
    """The source, and beside it what *interpreter* makes of it.

    Compiling it takes 0.6 ms, which each call of each container would pay.
    """
    if "'''" in source:
        raise AssertionError(f"{LAUNCHER.name} has the quotes that are to be around it")
    compiler = interpreter if os.access(interpreter, os.X_OK) else sys.executable
    try:
        done = subprocess.run(
            [compiler, "-ISc", _COMPILE],
            input=source.encode(),
            capture_output=True,
            timeout=PROOF_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return source  # works as well, and ``prove`` says what is wrong with the interpreter
    return f"{_HEAD}\nSOURCE = r'''{source}'''\n{done.stdout.decode()}{_RUN}\n"


# Version 2 of the format is the same each time.
_COMPILE = """
import marshal, sys
from _frozen_importlib_external import MAGIC_NUMBER
code = compile(sys.stdin.read(), "ocicat", "exec", optimize=2)
print(f"MAGIC = {MAGIC_NUMBER!r}")
print(f"CODE = {marshal.dumps(code, 2)!r}")
"""
_HEAD = """\
# Ocicat's CNI plugin. CODE is SOURCE, compiled by a Python with this MAGIC; another takes SOURCE.
import marshal
from _frozen_importlib_external import MAGIC_NUMBER
"""
_RUN = 'exec(marshal.loads(CODE) if MAGIC_NUMBER == MAGIC else compile(SOURCE, "ocicat", "exec"))'


def _settings(config: Config) -> dict[str, str]:
    where = config.kubernetes
    return {
        **({"KUBECONFIG": str(where)} if isinstance(where, Path) else {}),
        "OCICAT_CNI_SOCKET": config.socket,
        "OCICAT_IPAM_SOCKET": config.ipam_socket,
        "OCICAT_SPOOL_DIR": config.spool,
        "OCICAT_ADD_TIMEOUT_S": str(config.add_timeout_s),
        "OCICAT_DEL_TIMEOUT_S": str(config.del_timeout_s),
    }


def _interpreter() -> str:
    """The interpreter for the launcher: the distribution's, which has the modules built in."""
    if os.access(SYSTEM_PYTHON, os.X_OK):
        return SYSTEM_PYTHON
    return os.path.realpath(sys.executable)


def prove(path: Path, interpreter: str | None = None) -> None:
    """Run VERSION through the launcher: only one that works is put in place.

    Args:
        interpreter: what is to start it, as long as that is not yet where the launcher says.

    Raises:
        Unavailable: it does not answer.
    """
    command = [str(path)] if interpreter is None else [interpreter, "-IS", str(path)]
    try:
        done = subprocess.run(
            command,
            env={"CNI_COMMAND": "VERSION"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROOF_TIMEOUT_S,
            check=True,
        )
        json.loads(done.stdout)["supportedVersions"]
    except PermissionError as error:
        raise Unavailable(
            f"launcher {path}: may not be executed; is the file system mounted noexec?"
        ) from error
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        said = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()
        why = f"{error}: {said}" if said else error
        raise Unavailable(f"launcher {path}: does not answer VERSION: {why}") from error


if __name__ == "__main__":
    main()
