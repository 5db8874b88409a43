"""Every error of Ocicat, sorted by what the caller should do about it.

Pure: no I/O. Mapped in exactly two places: ``ipam_api/status.py`` (gRPC) and
``cni_plugin/cni_error.py`` (CNI); a test sees to it that both know every class.
A message reads ``<object>: <what is wrong>[; <what to do>]``.
"""


class OcicatError(Exception):
    """A failure that somebody outside can do something about. Anything else is a bug of ours."""


class Invalid(OcicatError):
    """Request, configuration or stored value is wrong: the same call fails until it is mended."""


class Exhausted(OcicatError):
    """There is no room: release addresses or add a pool. Waiting is no cure."""


class Unavailable(OcicatError):
    """etcd, ipamd or BIRD does not answer. The same call may succeed later.

    Whether the change took place is unknown: repeat the call or take it back.
    """


class Unsupported(OcicatError):
    """A version or field that we do not serve. Not ``Invalid``: it may be right for others."""
