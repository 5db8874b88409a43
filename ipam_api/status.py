"""Our errors ⇄ gRPC statuses, both directions in one table.

Edge: gRPC.
"""

import grpc

from datamodel.errors import Exhausted, Invalid, OcicatError, Unavailable, Unsupported

_CODES: dict[type[OcicatError], grpc.StatusCode] = {
    Invalid: grpc.StatusCode.INVALID_ARGUMENT,
    Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    Unsupported: grpc.StatusCode.UNIMPLEMENTED,
}
_ERRORS = {code: kind for kind, code in _CODES.items()}

# Goes along with a status of ours: its details are our text, not that of gRPC's transport.
OURS_METADATA = (("ocicat-error", "1"),)


def status_of(error: OcicatError) -> grpc.StatusCode:
    """The status that carries *error*; its text goes along as the details."""
    return _CODES.get(type(error), grpc.StatusCode.INTERNAL)


def sendable(text: str) -> str:
    """Spell out what is no text, as in a key that somebody wrote: gRPC would send nothing."""
    return text.encode(errors="backslashreplace").decode()


def details_of(error: OcicatError) -> str:
    """The text that goes along; cut, as gRPC drops an answer whose details have more than 8 kB."""
    text = sendable(str(error))
    limit = 2000 if text.isascii() else 500  # a character may take 3 bytes, or 12
    return text if len(text) <= limit else f"{text[:limit]}… (ipamd's log has all of it)"


def error_of(code: grpc.StatusCode, details: str) -> OcicatError:
    """The error that a status carries."""
    return _ERRORS.get(code, OcicatError)(details)
