"""What a pod asks for by Calico's annotations, and what its endpoint is to say of it.

Pure: no I/O. Reads a Pod and its Namespace as the Kubernetes API gives them; docs/kubernetes.md
has the annotations.
"""

import ipaddress
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from cni_plugin.netconf import mac_of, pool_mistake
from cni_plugin.stdin import shown
from datamodel.block import Address
from datamodel.endpoint import Port, Workload
from datamodel.errors import Invalid

PREFIX = "cni.projectcalico.org/"
FAMILIES = {"IPv4": 4, "IPv6": 6}

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What Kubernetes knows of a pod, as far as it matters for its network."""

    workload: Workload
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    versions: tuple[int, ...] = ()  # families wanted; none: the network configuration says which
    # Names or CIDRs by family; a family that is missing: the network configuration says which.
    pools: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    addresses: tuple[Address, ...] = ()  # exactly these, at most one of each family
    mac: str = ""  # "": any


def pod_facts(
    pod: Document, namespace: Document, *, is_first_link: bool, has_floating_ips: bool
) -> PodFacts:
    """Read a pod and its namespace.

    Args:
        pod: as the API gives it.
        namespace: the same.
        is_first_link: further ones of a pod cannot have the same addresses and MAC; what is
            annotated of them is for the first.
        has_floating_ips: whether the network configuration allows them.

    Raises:
        Invalid: annotations are wrong; with every mistake.
        AttributeError, KeyError, TypeError, ValueError: *pod* or *namespace* is something else.
    """
    reader = _Annotations(pod["metadata"], namespace["metadata"])
    versions = reader.families()
    pools = {version: reader.pools(version) for version in FAMILIES.values()}
    own = reader if is_first_link else _Annotations({}, {})
    addresses = own.addresses("ipAddrs")
    facts = PodFacts(
        workload=_workload(pod, own.floating_ips(has_floating_ips)),
        namespace_labels=_texts(namespace["metadata"].get("labels")),
        versions=versions,
        pools={version: names for version, names in pools.items() if names is not None},
        addresses=addresses,
        mac=own.mac(),
    )
    if own.text("ipAddrsNoIpam"):
        reader.mistakes.append(f"{PREFIX}ipAddrsNoIpam: is not served; use {PREFIX}ipAddrs")
    mistakes = reader.mistakes + (own.mistakes if own is not reader else [])
    if mistakes:
        raise Invalid("; ".join(mistakes))
    return facts


class _Annotations:
    """Reads annotations one by one and collects what is wrong with them. Empty means absent."""

    def __init__(self, pod: Document, namespace: Document) -> None:
        self.mistakes: list[str] = []
        self._pods = _texts(pod.get("annotations"))
        self._namespaces = _texts(namespace.get("annotations"))

    def text(self, name: str) -> str:
        """The pod's own."""
        return self._pods.get(PREFIX + name, "")

    def families(self) -> tuple[int, ...]:
        """The pod's, else its namespace's."""
        texts = self._inherited("ipFamilies")
        if texts is None:
            return ()
        unknown = [text for text in texts if text not in FAMILIES]
        if unknown or not texts:
            self._mistake("ipFamilies", f"{unknown or texts!r} is not one of IPv4, IPv6")
        return tuple(sorted({FAMILIES[text] for text in texts if text in FAMILIES}))

    def pools(self, version: int) -> tuple[str, ...] | None:
        """The pod's, else its namespace's; ``None``: neither says."""
        name = f"ipv{version}pools"
        texts = self._inherited(name)
        if texts is None:
            return None
        for text in texts:
            if mistake := pool_mistake(text, version):
                self._mistake(name, mistake)
        return tuple(texts)

    def addresses(self, name: str) -> tuple[Address, ...]:
        found = tuple(self._addresses(name))
        if len({address.version for address in found}) < len(found):
            self._mistake(name, "more than one address of a family; a pod has one of each")
        return found

    def floating_ips(self, are_allowed: bool) -> tuple[Address, ...]:
        found = tuple(self._addresses("floatingIPs"))
        if found and not are_allowed:
            self._mistake(
                "floatingIPs",
                "is not enabled; set feature_control.floating_ips in the network configuration",
            )
        return found

    def mac(self) -> str:
        text = self.text("hwAddr")
        try:
            return mac_of(text) if text else ""
        except ValueError as error:
            self._mistake("hwAddr", str(error))
            return ""

    def _addresses(self, name: str) -> Iterator[Address]:
        for text in self._list(name, self.text(name)) or ():
            try:
                yield ipaddress.ip_address(text)
            except ValueError:
                self._mistake(name, f"{text!r} is not an address")

    def _inherited(self, name: str) -> list[str] | None:
        return self._list(name, self.text(name) or self._namespaces.get(PREFIX + name, ""))

    def _list(self, name: str, text: str) -> list[str] | None:
        if not text:
            return None
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, list) and all(isinstance(item, str) for item in found):
            return found
        self._mistake(name, f"{shown(text)} is not a JSON list of texts")
        return None

    def _mistake(self, name: str, mistake: str) -> None:
        self.mistakes.append(f"{PREFIX}{name}: {mistake}")


def _workload(pod: Document, floating_ips: tuple[Address, ...]) -> Workload:
    metadata, spec = pod["metadata"], pod["spec"]
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    ports = (port for container in containers for port in container.get("ports") or ())
    return Workload(
        labels=_texts(metadata.get("labels")),
        service_account=_text(spec.get("serviceAccountName")),
        generate_name=_text(metadata.get("generateName")),
        ports=tuple(_ports(ports)),
        floating_ips=floating_ips,
    )


def _ports(ports: Iterable[Document]) -> Iterator[Port]:
    """Those that policies can name, or that the node has for the pod."""
    for port in ports:
        name, host_port = _text(port.get("name")), _number(port.get("hostPort") or 0)
        if name or host_port:
            protocol, host_ip = _text(port.get("protocol")) or "TCP", _text(port.get("hostIP"))
            yield Port(_number(port["containerPort"]), name, protocol, host_port, host_ip)


def _number(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 16:
        raise TypeError(f"{value!r} is not a port")
    return value


def _text(value: Any) -> str:
    """A text; absent means empty, as in Go."""
    if not isinstance(value, str | None):
        raise TypeError(f"{value!r} is not text")
    return value or ""


def _texts(value: Any) -> dict[str, str]:
    """Labels or annotations."""
    return {name: _text(text) for name, text in (value or {}).items()}


def profiles(namespace: str, service_account: str) -> tuple[str, ...]:
    """Calico's profiles of a pod: its namespace's, and its service account's if that is known."""
    account = (f"ksa.{namespace}.{service_account}",) if service_account else ()
    return (f"kns.{namespace}", *account)
