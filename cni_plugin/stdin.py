"""The JSON object on stdin: its keys, its version, and what is wrong with it.

Pure: no I/O. Keys match in any case, as in every Go plugin: runtimes rely on it without knowing.
"""

import json
from collections.abc import Mapping
from typing import Any

from cni_plugin import versions
from cni_plugin.cni_error import DECODING_FAILURE, INVALID_CONFIG, CniError
from datamodel.errors import Invalid, OcicatError

SHOWN_CHARS = 200


def parse(stdin: bytes) -> "Keys":
    """Read the JSON object.

    Raises:
        CniError: 6, it is none; 7, it is ``null``.
    """
    try:
        document = json.loads(stdin.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise CniError(
            DECODING_FAILURE, f"network configuration on stdin: is not JSON: {error}"
        ) from error
    if document is None:
        raise CniError(INVALID_CONFIG, "missing network name")
    if not isinstance(document, dict):
        raise CniError(DECODING_FAILURE, "network configuration on stdin: is not a JSON object")
    return Keys(document)


def _refuse(constant: str) -> None:
    """Python reads ``NaN`` and ``Infinity``, which JSON does not have.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{constant} is no value")


class Keys:
    """A JSON object whose keys match in any case; of equal ones the last counts."""

    def __init__(self, document: Mapping[str, Any], where: str = "") -> None:
        self._values = {key.lower(): value for key, value in document.items()}
        self._where = where

    def __contains__(self, key: str) -> bool:
        """Whether the key is there, ``null`` included."""
        return key.lower() in self._values

    def get(self, key: str, kind: type, default: Any) -> Any:
        """The value of *key*, *default* if it is absent or null.

        Raises:
            Invalid: it is of another type.
        """
        value = self._values.get(key.lower())
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Invalid(f"{self._where}{key}: {shown(value)} is not {_KINDS[kind]}")
        return value


def shown(value: Any) -> str:
    """A value of somebody else's as an error may show it."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


_KINDS = {
    str: "a string",
    int: "a number",
    dict: "an object",
    list: "a list",
    bool: "true or false",
}


def version_of(keys: Keys, command: str) -> str:
    """The cniVersion that counts.

    Raises:
        CniError: 6, it is not a string; otherwise as ``versions.check``.
    """
    try:
        version = str(keys.get("cniVersion", str, "") or versions.DEFAULT)
    except Invalid as error:
        raise CniError(DECODING_FAILURE, str(error)) from error
    versions.check(version, command)
    return version


def spoken_version(stdin: bytes) -> str:
    """The version in which a failure is told: the configuration's if we speak it."""
    try:
        version = str(parse(stdin).get("cniVersion", str, ""))
    except OcicatError:
        version = ""
    return version if version in versions.SUPPORTED else versions.NEWEST


class Reader:
    """Reads parts of a configuration and collects what is wrong with them."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.mistakes: list[str] = []

    def read(self, where: Keys, key: str, kind: type, default: Any) -> Any:
        """The value of *key*; *default* if it is absent, null or wrong."""
        try:
            return where.get(key, kind, default)
        except Invalid as error:
            self.mistakes.append(str(error))
            return default

    def top(self, key: str, kind: type, default: Any) -> Any:
        """The same of a key of the configuration itself."""
        return self.read(self.keys, key, kind, default)

    def section(self, key: str) -> Keys:
        """An object within the configuration; an empty one if there is none."""
        return Keys(self.top(key, dict, {}), f"{key}.")

    def finish(self, name: str) -> None:
        """Refuse the configuration of network *name* if anything was wrong.

        Raises:
            Invalid: with every mistake.
        """
        if self.mistakes:
            raise Invalid(f"network {name}: {'; '.join(dict.fromkeys(self.mistakes))}")
