"""Arguments and options that several commands take.

Pure: no I/O.
"""

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import click

from datamodel.attachment import Pod
from datamodel.block import Address
from datamodel.endpoint import DEFAULT_NAMESPACE
from datamodel.environment import is_node_name
from ocicatctl.resources import values

_LIKE_AN_ADDRESS = re.compile(r"[0-9]+\.[0-9./]*|.*[:%].*", re.DOTALL)  # no pod is called so


def address(text: str) -> Address:
    """An IP address of either family; for click's ``type``."""
    try:
        found = ip_address(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not an IP address") from error
    if getattr(found, "scope_id", None):
        raise click.BadParameter(f"{text!r} has a zone; leave out what begins with %")
    return found


def address_or_pod(text: str) -> Address | Pod:
    """An IP address, or POD or NAMESPACE/POD; for click's ``type``."""
    try:
        return address(text)
    except click.BadParameter:
        if _LIKE_AN_ADDRESS.fullmatch(text):
            raise
        pod = Pod(*text.split("/")) if text.count("/") == 1 else Pod(DEFAULT_NAMESPACE, text)
        if pod.mistakes:
            raise click.BadParameter(
                f"{text!r} is neither an IP address nor POD nor NAMESPACE/POD"
            ) from None
        return pod


def address_or_node(text: str) -> Address | str:
    """An IP address, or a node's name; for click's ``type``."""
    return address(text) if _LIKE_AN_ADDRESS.fullmatch(text) else node(text)


def node(text: str) -> str:
    """A node's name; for click's ``type``."""
    if not is_node_name(text):
        raise click.BadParameter(f"{text!r} is not a node's name")
    return text


def namespace(text: str) -> str:
    """A namespace; for click's ``type``. An empty text, an unset variable's, is none."""
    try:
        return values.name(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} {error}") from error


def socket(variable: str, default: str, what: str) -> Callable[[Callable[..., Any]], Any]:
    """``--socket``, given to the command as *path*; else the variable says where *what* is."""
    return click.option(
        "--socket",
        "path",
        envvar=variable,
        default=default,
        show_default=True,
        show_envvar=True,
        metavar="PATH",
        help=what,
    )


ipamd_socket = socket(
    "OCICAT_IPAM_SOCKET", "/run/ocicat/ipamd.sock", "Socket of this node's ipamd."
)
