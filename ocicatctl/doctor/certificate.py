"""From when until when a certificate holds, read from its bytes.

Pure: no I/O. As much of X.509's DER as that needs.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from datamodel.errors import Invalid

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_SEQUENCE, _UTC_TIME, _EXPLICIT = 0x30, 0x17, 0xA0


@dataclass(frozen=True, slots=True)
class Validity:
    """The time in which a certificate holds."""

    begins: datetime
    ends: datetime


def validities(pem: bytes) -> list[Validity]:
    """Of every certificate in a file.

    Raises:
        Invalid: one cannot be read, or there is none.
    """
    found = []
    for body in _PEM.findall(pem):
        try:
            found.append(validity(base64.b64decode(body)))
        except binascii.Error as error:
            raise Invalid("holds a certificate that is damaged") from error
    if not found:
        raise Invalid("holds no certificate in PEM form")
    return found


def validity(der: bytes) -> Validity:
    """Of one certificate.

    Raises:
        Invalid: it is none.
    """
    try:
        _, certificate, _ = _item(der)
        _, fields, _ = _item(certificate)
        kind, _, rest = _item(fields)
        if kind == _EXPLICIT:  # the version; without it this was the serial number
            _, _, rest = _item(rest)
        _, _, rest = _item(rest)  # the signature's algorithm
        _, _, rest = _item(rest)  # the issuer
        kind, span, _ = _item(rest)
        if kind != _SEQUENCE:
            raise Invalid("is no certificate")
        first, begins, rest = _item(span)
        second, ends, _ = _item(rest)
        return Validity(_time(first, begins), _time(second, ends))
    except (IndexError, ValueError) as error:
        raise Invalid("holds a certificate that is damaged") from error


def _item(data: bytes) -> tuple[int, bytes, bytes]:
    """The first item: its kind, its content, and what follows it."""
    kind, length, start = data[0], data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start])
    if start + length > len(data):
        raise ValueError("cut off")
    return kind, data[start : start + length], data[start + length :]


def _time(kind: int, text: bytes) -> datetime:
    form = "%y%m%d%H%M%SZ" if kind == _UTC_TIME else "%Y%m%d%H%M%SZ"
    return datetime.strptime(text.decode(), form).replace(tzinfo=UTC)
