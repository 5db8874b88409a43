from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Attachment(_message.Message):
    __slots__ = ("network", "container_id", "ifname")
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    IFNAME_FIELD_NUMBER: _ClassVar[int]
    network: str
    container_id: str
    ifname: str
    def __init__(self, network: _Optional[str] = ..., container_id: _Optional[str] = ..., ifname: _Optional[str] = ...) -> None: ...

class Pod(_message.Message):
    __slots__ = ("namespace", "name")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    name: str
    def __init__(self, namespace: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class Endpoint(_message.Message):
    __slots__ = ("interface_name", "mac", "profiles", "kernel", "workload")
    INTERFACE_NAME_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    PROFILES_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    interface_name: str
    mac: str
    profiles: _containers.RepeatedScalarFieldContainer[str]
    kernel: Kernel
    workload: Workload
    def __init__(self, interface_name: _Optional[str] = ..., mac: _Optional[str] = ..., profiles: _Optional[_Iterable[str]] = ..., kernel: _Optional[_Union[Kernel, _Mapping]] = ..., workload: _Optional[_Union[Workload, _Mapping]] = ...) -> None: ...

class Workload(_message.Message):
    __slots__ = ("labels", "service_account", "generate_name", "ports", "floating_ips")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    GENERATE_NAME_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    FLOATING_IPS_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.ScalarMap[str, str]
    service_account: str
    generate_name: str
    ports: _containers.RepeatedCompositeFieldContainer[Port]
    floating_ips: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, labels: _Optional[_Mapping[str, str]] = ..., service_account: _Optional[str] = ..., generate_name: _Optional[str] = ..., ports: _Optional[_Iterable[_Union[Port, _Mapping]]] = ..., floating_ips: _Optional[_Iterable[str]] = ...) -> None: ...

class Port(_message.Message):
    __slots__ = ("number", "name", "protocol", "host_port", "host_ip")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    HOST_PORT_FIELD_NUMBER: _ClassVar[int]
    HOST_IP_FIELD_NUMBER: _ClassVar[int]
    number: int
    name: str
    protocol: str
    host_port: int
    host_ip: str
    def __init__(self, number: _Optional[int] = ..., name: _Optional[str] = ..., protocol: _Optional[str] = ..., host_port: _Optional[int] = ..., host_ip: _Optional[str] = ...) -> None: ...

class Kernel(_message.Message):
    __slots__ = ("boot_id", "netns")
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    NETNS_FIELD_NUMBER: _ClassVar[int]
    boot_id: str
    netns: str
    def __init__(self, boot_id: _Optional[str] = ..., netns: _Optional[str] = ...) -> None: ...

class Address(_message.Message):
    __slots__ = ("address", "block", "gateway", "overhead")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_FIELD_NUMBER: _ClassVar[int]
    OVERHEAD_FIELD_NUMBER: _ClassVar[int]
    address: str
    block: str
    gateway: str
    overhead: int
    def __init__(self, address: _Optional[str] = ..., block: _Optional[str] = ..., gateway: _Optional[str] = ..., overhead: _Optional[int] = ...) -> None: ...

class AllocateRequest(_message.Message):
    __slots__ = ("attachment", "pod", "endpoint", "ipv4", "ipv6", "ipv4_pools", "ipv6_pools", "addresses", "namespace_labels", "is_delegated")
    class NamespaceLabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ATTACHMENT_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    IPV4_FIELD_NUMBER: _ClassVar[int]
    IPV6_FIELD_NUMBER: _ClassVar[int]
    IPV4_POOLS_FIELD_NUMBER: _ClassVar[int]
    IPV6_POOLS_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_LABELS_FIELD_NUMBER: _ClassVar[int]
    IS_DELEGATED_FIELD_NUMBER: _ClassVar[int]
    attachment: Attachment
    pod: Pod
    endpoint: Endpoint
    ipv4: bool
    ipv6: bool
    ipv4_pools: _containers.RepeatedScalarFieldContainer[str]
    ipv6_pools: _containers.RepeatedScalarFieldContainer[str]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    namespace_labels: _containers.ScalarMap[str, str]
    is_delegated: bool
    def __init__(self, attachment: _Optional[_Union[Attachment, _Mapping]] = ..., pod: _Optional[_Union[Pod, _Mapping]] = ..., endpoint: _Optional[_Union[Endpoint, _Mapping]] = ..., ipv4: _Optional[bool] = ..., ipv6: _Optional[bool] = ..., ipv4_pools: _Optional[_Iterable[str]] = ..., ipv6_pools: _Optional[_Iterable[str]] = ..., addresses: _Optional[_Iterable[str]] = ..., namespace_labels: _Optional[_Mapping[str, str]] = ..., is_delegated: _Optional[bool] = ...) -> None: ...

class AllocateResponse(_message.Message):
    __slots__ = ("addresses", "node", "superseded_container_id")
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    addresses: _containers.RepeatedCompositeFieldContainer[Address]
    node: str
    superseded_container_id: str
    def __init__(self, addresses: _Optional[_Iterable[_Union[Address, _Mapping]]] = ..., node: _Optional[str] = ..., superseded_container_id: _Optional[str] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("attachment", "pod")
    ATTACHMENT_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    attachment: Attachment
    pod: Pod
    def __init__(self, attachment: _Optional[_Union[Attachment, _Mapping]] = ..., pod: _Optional[_Union[Pod, _Mapping]] = ...) -> None: ...

class ReleaseResponse(_message.Message):
    __slots__ = ("addresses",)
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    addresses: _containers.RepeatedCompositeFieldContainer[Address]
    def __init__(self, addresses: _Optional[_Iterable[_Union[Address, _Mapping]]] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("attachment", "pod")
    ATTACHMENT_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    attachment: Attachment
    pod: Pod
    def __init__(self, attachment: _Optional[_Union[Attachment, _Mapping]] = ..., pod: _Optional[_Union[Pod, _Mapping]] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("addresses", "endpoint", "node")
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    addresses: _containers.RepeatedCompositeFieldContainer[Address]
    endpoint: Endpoint
    node: str
    def __init__(self, addresses: _Optional[_Iterable[_Union[Address, _Mapping]]] = ..., endpoint: _Optional[_Union[Endpoint, _Mapping]] = ..., node: _Optional[str] = ...) -> None: ...

class ListAttachmentsRequest(_message.Message):
    __slots__ = ("network",)
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    network: str
    def __init__(self, network: _Optional[str] = ...) -> None: ...

class ListAttachmentsResponse(_message.Message):
    __slots__ = ("attachments",)
    ATTACHMENTS_FIELD_NUMBER: _ClassVar[int]
    attachments: _containers.RepeatedCompositeFieldContainer[Attachment]
    def __init__(self, attachments: _Optional[_Iterable[_Union[Attachment, _Mapping]]] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Block(_message.Message):
    __slots__ = ("cidr", "size", "in_use")
    CIDR_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    IN_USE_FIELD_NUMBER: _ClassVar[int]
    cidr: str
    size: int
    in_use: int
    def __init__(self, cidr: _Optional[str] = ..., size: _Optional[int] = ..., in_use: _Optional[int] = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("node", "blocks", "revision", "waits_for", "findings")
    NODE_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    node: str
    blocks: _containers.RepeatedCompositeFieldContainer[Block]
    revision: int
    waits_for: str
    findings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, node: _Optional[str] = ..., blocks: _Optional[_Iterable[_Union[Block, _Mapping]]] = ..., revision: _Optional[int] = ..., waits_for: _Optional[str] = ..., findings: _Optional[_Iterable[str]] = ...) -> None: ...

class ReportedLink(_message.Message):
    __slots__ = ("interface_name", "attachment", "attachment_digest", "pod", "addresses", "mac")
    INTERFACE_NAME_FIELD_NUMBER: _ClassVar[int]
    ATTACHMENT_FIELD_NUMBER: _ClassVar[int]
    ATTACHMENT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    interface_name: str
    attachment: Attachment
    attachment_digest: str
    pod: Pod
    addresses: _containers.RepeatedScalarFieldContainer[str]
    mac: str
    def __init__(self, interface_name: _Optional[str] = ..., attachment: _Optional[_Union[Attachment, _Mapping]] = ..., attachment_digest: _Optional[str] = ..., pod: _Optional[_Union[Pod, _Mapping]] = ..., addresses: _Optional[_Iterable[str]] = ..., mac: _Optional[str] = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("kernel", "is_complete", "links")
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    IS_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    kernel: Kernel
    is_complete: bool
    links: _containers.RepeatedCompositeFieldContainer[ReportedLink]
    def __init__(self, kernel: _Optional[_Union[Kernel, _Mapping]] = ..., is_complete: _Optional[bool] = ..., links: _Optional[_Iterable[_Union[ReportedLink, _Mapping]]] = ...) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WatchReportsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReportWanted(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetReportRequest(_message.Message):
    __slots__ = ("fresh",)
    FRESH_FIELD_NUMBER: _ClassVar[int]
    fresh: bool
    def __init__(self, fresh: _Optional[bool] = ...) -> None: ...

class GetReportResponse(_message.Message):
    __slots__ = ("report", "age_s")
    REPORT_FIELD_NUMBER: _ClassVar[int]
    AGE_S_FIELD_NUMBER: _ClassVar[int]
    report: ReportRequest
    age_s: float
    def __init__(self, report: _Optional[_Union[ReportRequest, _Mapping]] = ..., age_s: _Optional[float] = ...) -> None: ...

class GetHistoryRequest(_message.Message):
    __slots__ = ("address", "pod", "container_id", "handle_id")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    HANDLE_ID_FIELD_NUMBER: _ClassVar[int]
    address: str
    pod: Pod
    container_id: str
    handle_id: str
    def __init__(self, address: _Optional[str] = ..., pod: _Optional[_Union[Pod, _Mapping]] = ..., container_id: _Optional[str] = ..., handle_id: _Optional[str] = ...) -> None: ...

class Holding(_message.Message):
    __slots__ = ("address", "handle_id", "pod", "node", "from_s", "to_s")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    HANDLE_ID_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    FROM_S_FIELD_NUMBER: _ClassVar[int]
    TO_S_FIELD_NUMBER: _ClassVar[int]
    address: str
    handle_id: str
    pod: Pod
    node: str
    from_s: float
    to_s: float
    def __init__(self, address: _Optional[str] = ..., handle_id: _Optional[str] = ..., pod: _Optional[_Union[Pod, _Mapping]] = ..., node: _Optional[str] = ..., from_s: _Optional[float] = ..., to_s: _Optional[float] = ...) -> None: ...

class GetHistoryResponse(_message.Message):
    __slots__ = ("holdings", "begins_s")
    HOLDINGS_FIELD_NUMBER: _ClassVar[int]
    BEGINS_S_FIELD_NUMBER: _ClassVar[int]
    holdings: _containers.RepeatedCompositeFieldContainer[Holding]
    begins_s: float
    def __init__(self, holdings: _Optional[_Iterable[_Union[Holding, _Mapping]]] = ..., begins_s: _Optional[float] = ...) -> None: ...
