"""The trace that a request is part of, on its way from the plugin to ipamd: gRPC metadata.

Pure: no I/O.
"""

import re
from collections.abc import Iterable

KEY = "ocicat-trace"

_TRACE = re.compile(r"[0-9a-f]{32}")  # as in the W3C's traceparent

Metadata = tuple[tuple[str, str], ...]


def metadata_of(trace_id: str) -> Metadata:
    """What goes along with a request; nothing outside of a trace ("")."""
    return ((KEY, trace_id),) if trace_id else ()


def trace_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The trace of a request; "" if none came along, or none that is one."""
    values = [value for key, value in metadata if key == KEY]
    value = values[0] if values else ""
    return value if isinstance(value, str) and _TRACE.fullmatch(value) else ""
