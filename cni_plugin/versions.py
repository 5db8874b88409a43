"""The versions of the CNI specification that we speak, and which of them has what.

Pure: no I/O.
"""

import re

from cni_plugin.cni_error import DECODING_FAILURE, INCOMPATIBLE_VERSION, CniError

SUPPORTED = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST = SUPPORTED[-1]
DEFAULT = "0.1.0"  # what a configuration without cniVersion means

# Results of one family have the same shape: a previous one may be of another version in it.
LEGACY = ("0.1.0", "0.2.0")  # ip4, ip6; no interfaces
ZERO = ("0.3.0", "0.3.1", "0.4.0")  # ips tell their family
ONE = ("1.0.0", "1.1.0")
FAMILIES = (LEGACY, ZERO, ONE)

# Command -> the version that brought it.
SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
_NUMBERS = re.compile(r"\d+(\.\d+){0,2}", re.ASCII)


def check(version: str, command: str) -> None:
    """See to it that a configuration of *version* may be served *command*.

    Raises:
        CniError: 1, we do not speak the version, or it does not know the command; 6, it had to be
            compared with the command's and is none.
    """
    if command in SINCE:
        if not _NUMBERS.fullmatch(version):
            raise CniError(DECODING_FAILURE, f"cniVersion {version!r}: is not a version")
        if _parts(version) < _parts(SINCE[command]):
            raise CniError(INCOMPATIBLE_VERSION, f"config version does not allow {command}")
    if version not in SUPPORTED:
        raise CniError(
            INCOMPATIBLE_VERSION,
            "incompatible CNI versions",
            f'config is "{version}", plugin supports {list(SUPPORTED)}',
        )


def family_of(version: str) -> tuple[str, ...]:
    """The versions whose results have the shape of *version*'s, itself included; () for none."""
    return next((family for family in FAMILIES if version in family), ())


def _parts(version: str) -> tuple[int, ...]:
    parts = [int(part) for part in version.split(".")]
    return (*parts, *(0 for _ in range(3 - len(parts))))
