"""Our errors → CNI error codes: one table.

Pure: no I/O. Codes 1 to 99 are the specification's; 100 and up are ours.
"""

from datamodel.errors import Exhausted, Invalid, OcicatError, Unavailable, Unsupported

INCOMPATIBLE_VERSION = 1
UNSUPPORTED_FIELD = 2
INVALID_ENVIRONMENT = 4
IO_FAILURE = 5
DECODING_FAILURE = 6
INVALID_CONFIG = 7
INVALID_NETNS = 8  # the CNI library's, for CNI_NETNS that is the plugin's own
TRY_AGAIN_LATER = 11
NOT_AVAILABLE = 50  # STATUS: no ADD can be served
LIMITED_CONNECTIVITY = 51  # the same, and containers that are there may not reach everything
EXHAUSTED = 101
INTERNAL = 999  # as the CNI library marks what no plugin foresaw

CODES: dict[type[OcicatError], int] = {
    Invalid: INVALID_CONFIG,
    Exhausted: EXHAUSTED,
    Unavailable: TRY_AGAIN_LATER,
    Unsupported: UNSUPPORTED_FIELD,
}


class CniError(OcicatError):
    """A mistake in the call itself, with the code that the specification gives it."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.details = details


def code_of(error: Exception) -> int:
    """The code that *error* is answered with."""
    if isinstance(error, CniError):
        return error.code
    for kind, code in CODES.items():
        if isinstance(error, kind):
            return code
    return INTERNAL
