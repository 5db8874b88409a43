"""Where a network configuration wants its calls logged: Calico's ``log_*`` keys.

Pure: no I/O.
"""

from dataclasses import dataclass

from cni_plugin.cni_error import CniError
from cni_plugin.stdin import Keys, parse
from datamodel.errors import Invalid

MEGABYTE = 1 << 20
DAY_S = 86_400

# Any other word means info, as in Calico.
_LEVELS = ("DEBUG", "INFO", "ERROR")
_DEFAULTS = {"log_file_max_size": 100, "log_file_max_age": 30, "log_file_max_count": 10}


@dataclass(frozen=True, slots=True)
class LogConf:
    """A log file, and what becomes of it when it is full."""

    path: str
    level: str = "INFO"  # as logging names it; what is below is not written
    max_bytes: int = 100 * MEGABYTE
    max_age_s: int = 30 * DAY_S  # of the files that were full
    max_count: int = 10  # of them, beside the one that is written


def log_conf_in(stdin: bytes) -> LogConf | None:
    """Where the call with this configuration is to be logged, whatever else is wrong with it."""
    try:
        return log_conf_of(parse(stdin))[0]
    except CniError:
        return None


def log_conf_of(keys: Keys) -> tuple[LogConf | None, list[str]]:
    """Read what is said of logging; return it, ``None`` for no file, and what is wrong.

    A value that is wrong is taken for absent: every call may be logged, also one that is refused
    for it, and a DEL that must not be.
    """
    mistakes: list[str] = []

    def text(key: str) -> str:
        try:
            return str(keys.get(key, str, ""))
        except Invalid as error:
            mistakes.append(str(error))
            return ""

    def number(key: str) -> int:
        try:
            value = int(keys.get(key, int, 0))
        except Invalid as error:
            mistakes.append(str(error))
            return _DEFAULTS[key]
        if value < 0:
            mistakes.append(f"{key}: {value} is negative")
        return value if value > 0 else _DEFAULTS[key]

    path, level = text("log_file_path"), text("log_level").upper()
    conf = LogConf(
        path,
        level if level in _LEVELS else "INFO",
        number("log_file_max_size") * MEGABYTE,
        number("log_file_max_age") * DAY_S,
        number("log_file_max_count"),
    )
    if path and not (path.startswith("/") and "\0" not in path and not path.endswith("/")):
        mistakes.append(f"log_file_path: {path!r} is not the full path of a file")
        path = ""
    return conf if path else None, mistakes
