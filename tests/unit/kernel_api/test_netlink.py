"""The bytes of netlink, and the kernel's refusals."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_api.netlink import Netlink, Refused, Request, attribute, attributes
from kernel_api.rtnetlink import RTM_GETLINK, get_link, parse_link


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=9)), st.sampled_from([0, 16]))
def test_attributes_are_read_back(values, offset):
    message = bytes(offset) + b"".join(attribute(kind, value) for kind, value in values.items())

    assert attributes(message, offset) == values


@pytest.mark.parametrize("rest", [b"\0\0\0\0", b"\1", b"\3\0\3\0"])
def test_what_is_no_attribute_ends_them(rest):
    assert attributes(attribute(3, b"eth0") + rest, 0) == {3: b"eth0"}


LINKS = Request(RTM_GETLINK, 0, bytes(16), "links")  # struct ifinfomsg: all of them


def test_a_dump_has_every_message_and_is_complete():
    with Netlink() as netlink:
        dump = netlink.dump(LINKS)

    assert dump.is_complete
    assert "lo" in [parse_link(message).name for message in dump.messages]


def test_a_socket_serves_several_dumps():
    with Netlink() as netlink:
        assert netlink.dump(LINKS) == netlink.dump(LINKS)


def test_what_the_kernel_does_not_list_is_an_error():
    with Netlink() as netlink, pytest.raises(Refused, match="Invalid") as refused:
        netlink.dump(Request(RTM_GETLINK, 0, bytes(4), "links"))

    assert refused.value.errno == errno.EINVAL


def test_what_is_not_there_is_an_error_that_names_it():
    with Netlink() as netlink, pytest.raises(Refused, match="No such device") as refused:
        netlink.get(get_link("nobody"))

    assert refused.value.errno == errno.ENODEV
    assert refused.value.request.what == "link nobody"
