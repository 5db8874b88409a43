"""The bytes of netlink, and the kernel's refusals."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_plugin.netlink import Netlink, attribute, attributes

RTM_GETLINK = 18
LINK = bytes(16)  # struct ifinfomsg: all links


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=9)), st.sampled_from([0, 16]))
def test_attributes_are_read_back(values, offset):
    message = bytes(offset) + b"".join(attribute(kind, value) for kind, value in values.items())

    assert attributes(message, offset) == values


@pytest.mark.parametrize("rest", [b"\0\0\0\0", b"\1", b"\3\0\3\0"])
def test_what_is_no_attribute_ends_them(rest):
    assert attributes(attribute(3, b"eth0") + rest, 0) == {3: b"eth0"}


def test_a_dump_has_every_message_and_is_complete():
    with Netlink() as netlink:
        dump = netlink.dump(RTM_GETLINK, LINK)

    assert dump.is_complete
    names = [attributes(message, 16)[3] for message in dump.messages]
    assert b"lo\0" in names


def test_a_socket_serves_several_dumps():
    with Netlink() as netlink:
        assert netlink.dump(RTM_GETLINK, LINK) == netlink.dump(RTM_GETLINK, LINK)


def test_what_the_kernel_refuses_is_an_error():
    with Netlink() as netlink, pytest.raises(OSError, match="Invalid argument"):
        netlink.dump(RTM_GETLINK, LINK[:4])
