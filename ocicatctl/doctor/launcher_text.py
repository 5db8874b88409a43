"""What a launcher's text says: who runs it, which server it calls, whether it is that of today.

Pure: no I/O. ``cni_plugin/install.py`` writes it.
"""

import ast
import re

_MARK = "# Ocicat's CNI plugin."
_SOURCE = re.compile(r"^SOURCE = r'''(.*?)'''$", re.DOTALL | re.MULTILINE)
_CONSTANTS = re.compile(r"^(SERVER|IN_PROCESS|SETTINGS)\b[^=\n]*= (.+?)(?:  #.*)?$", re.MULTILINE)


def is_ours(text: str) -> bool:
    """Whether a program is a launcher of ours."""
    return _MARK in text or ("IN_PROCESS" in text and "serve_in_process" in text)


def interpreter(text: str) -> str:
    """The program that runs it."""
    return text.partition("\n")[0].removeprefix("#!").split(" ")[0]


def socket(text: str) -> str:
    """The CNI server's socket."""
    found = _constant(text, "SERVER")
    return found if isinstance(found, str) else ""


def fallback(text: str) -> str:
    """The program that it becomes while the server does not answer."""
    found = _constant(text, "IN_PROCESS")
    return str(found[0]) if isinstance(found, list) and found else ""


def program(text: str) -> str:
    """What it does, apart from the settings of one installation."""
    return _CONSTANTS.sub(r"\1", _source(text))


def _source(text: str) -> str:
    found = _SOURCE.search(text)
    return found[1] if found else text.partition("\n")[2]


def _constant(text: str, name: str) -> object:
    for found in _CONSTANTS.finditer(_source(text)):
        if found[1] == name:
            try:
                return ast.literal_eval(found[2])
            except (ValueError, SyntaxError):
                return None
    return None
