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
    __slots__ = ("interface_name", "mac", "profiles")
    INTERFACE_NAME_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    PROFILES_FIELD_NUMBER: _ClassVar[int]
    interface_name: str
    mac: str
    profiles: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, interface_name: _Optional[str] = ..., mac: _Optional[str] = ..., profiles: _Optional[_Iterable[str]] = ...) -> None: ...

class Address(_message.Message):
    __slots__ = ("address", "block")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    address: str
    block: str
    def __init__(self, address: _Optional[str] = ..., block: _Optional[str] = ...) -> None: ...

class AllocateRequest(_message.Message):
    __slots__ = ("attachment", "pod", "endpoint", "ipv4", "ipv6", "ipv4_pools", "ipv6_pools")
    ATTACHMENT_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    IPV4_FIELD_NUMBER: _ClassVar[int]
    IPV6_FIELD_NUMBER: _ClassVar[int]
    IPV4_POOLS_FIELD_NUMBER: _ClassVar[int]
    IPV6_POOLS_FIELD_NUMBER: _ClassVar[int]
    attachment: Attachment
    pod: Pod
    endpoint: Endpoint
    ipv4: bool
    ipv6: bool
    ipv4_pools: _containers.RepeatedScalarFieldContainer[str]
    ipv6_pools: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, attachment: _Optional[_Union[Attachment, _Mapping]] = ..., pod: _Optional[_Union[Pod, _Mapping]] = ..., endpoint: _Optional[_Union[Endpoint, _Mapping]] = ..., ipv4: _Optional[bool] = ..., ipv6: _Optional[bool] = ..., ipv4_pools: _Optional[_Iterable[str]] = ..., ipv6_pools: _Optional[_Iterable[str]] = ...) -> None: ...

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
    __slots__ = ("node", "blocks", "revision")
    NODE_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    node: str
    blocks: _containers.RepeatedCompositeFieldContainer[Block]
    revision: int
    def __init__(self, node: _Optional[str] = ..., blocks: _Optional[_Iterable[_Union[Block, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...
