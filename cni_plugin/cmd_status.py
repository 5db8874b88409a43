"""STATUS: whether an ADD could be served now. Cheap, since runtimes ask all the time."""

from cni_plugin.args import NetworkArgs
from cni_plugin.cni_error import LIMITED_CONNECTIVITY, NOT_AVAILABLE, CniError
from cni_plugin.parts import STATUS_TIMEOUT_S, Parts
from datamodel.errors import OcicatError


def cmd_status(args: NetworkArgs, parts: Parts) -> None:
    """Run one STATUS; that *args* were read means that the configuration is right.

    Raises:
        CniError: 50, ADD would fail; 51, and something is wrong with addresses in use.
    """
    try:
        status = parts.ipam.status(STATUS_TIMEOUT_S, is_patient=True)
    except OcicatError as error:
        raise CniError(NOT_AVAILABLE, str(error)) from error
    if status.waits_for:
        code = LIMITED_CONNECTIVITY if status.findings else NOT_AVAILABLE
        raise CniError(code, status.waits_for, "; ".join(status.findings))
