"""The versions of the CNI specification, and what changed between them."""

VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
CHECKED = ["0.4.0", "1.0.0", "1.1.0"]  # those that have CHECK
FIRST_FORM = ["0.1.0", "0.2.0"]  # results with ip4 and ip6
WITH_FAMILY = ["0.3.0", "0.3.1", "0.4.0"]  # ips[] has "version"

_INTERFACE = {"name", "mac", "sandbox"}
_ROUTE = {"dst", "gw"}


def family(version: str) -> int:
    """Versions of one family have results of one form."""
    return 0 if version in FIRST_FORM else 1 if version in WITH_FAMILY else 2


def keys_of(version: str) -> dict[str, set[str]]:
    """The keys that each part of a result may have."""
    if version in FIRST_FORM:
        return {"": {"cniVersion", "ip4", "ip6", "dns"}, "ip": {"ip", "gateway", "routes"}}
    is_last = version == "1.1.0"
    return {
        "": {"cniVersion", "interfaces", "ips", "routes", "dns"},
        "interfaces": _INTERFACE | ({"mtu", "socketPath", "pciID"} if is_last else set()),
        "ips": {"address", "gateway", "interface"}
        | ({"version"} if version in WITH_FAMILY else set()),
        "routes": _ROUTE | ({"mtu", "advmss", "priority", "table", "scope"} if is_last else set()),
    }
