"""The network configuration list: a template, with Calico's variables filled in.

Pure: no I/O. The template is ours or one written for Calico's installer (CNI_NETWORK_CONFIG).
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from datamodel.errors import Invalid

NAME = "10-ocicat.conflist"
SUFFIXES = (".conf", ".conflist", ".json")  # what libcni takes for a configuration

# ``__NAME__`` in a template -> what it becomes unless the environment has NAME. The names are those
# of Calico's installer, and the defaults as far as the plugin uses them; mtu 0 is found by itself.
# Not there: __SERVICEACCOUNT_TOKEN__, the plugin holds no credentials.
VARIABLES = {
    "CNI_MTU": "0",
    "LOG_LEVEL": "info",
    "LOG_FILE_PATH": "/var/log/calico/cni/cni.log",
    "LOG_FILE_MAX_SIZE": "100",
    "LOG_FILE_MAX_AGE": "30",
    "LOG_FILE_MAX_COUNT": "10",
    "DATASTORE_TYPE": "etcdv3",
    "ETCD_ENDPOINTS": "",
    "ETCD_DISCOVERY_SRV": "",
    "ETCD_CA_CERT_FILE": "",
    "ETCD_CERT_FILE": "",
    "ETCD_KEY_FILE": "",
    "KUBECONFIG_FILEPATH": "",
    "KUBERNETES_NODE_NAME": "",
    "KUBERNETES_SERVICE_HOST": "",
    "KUBERNETES_SERVICE_PORT": "",
}
_VARIABLE = re.compile(r"__([A-Z][A-Z0-9_]*[A-Z0-9])__")


def render(template: str, environment: Mapping[str, str]) -> str:
    """Fill the variables in.

    Raises:
        Invalid: the template has others, or what comes out is no network configuration list.
    """
    unknown = sorted(set(_VARIABLE.findall(template)) - VARIABLES.keys())
    if unknown:
        raise Invalid(
            f"template: __{unknown[0]}__ is not a variable; there are {', '.join(VARIABLES)}"
        )

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        return json.dumps(environment.get(name) or VARIABLES[name])[1:-1]  # inside a string

    text = _VARIABLE.sub(value, template)
    _plugins(text)
    return text


def types(text: str) -> tuple[str, ...]:
    """The plugins of the list, as their executables are called."""
    return tuple(plugin["type"] for plugin in _plugins(text))


def _plugins(text: str) -> list[dict[str, Any]]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"template: is not JSON once it is filled in: {error}") from error
    found = document.get("plugins") if isinstance(document, dict) else None
    if not found or not isinstance(found, list):
        raise Invalid('template: has no list "plugins"; it must be a network configuration list')
    if not isinstance(document.get("name"), str):
        raise Invalid('template: has no "name"')
    for plugin in found:
        kind = plugin.get("type") if isinstance(plugin, dict) else None
        if not isinstance(kind, str) or not kind or "/" in kind:
            raise Invalid('template: not every one of its "plugins" has a "type"')
    return found


def first(names: Iterable[str]) -> str | None:
    """Which file of a directory the runtimes use."""
    return min((name for name in names if name.endswith(SUFFIXES)), default=None)
