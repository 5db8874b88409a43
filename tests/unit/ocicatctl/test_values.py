import pytest

from ocicatctl.resources import values

RIGHT = [
    (values.cidr, "10.65.0.0/16", "10.65.0.0/16"),
    (values.cidr, "FD80:24e2:0::/48", "fd80:24e2::/48"),
    (values.cidr_or_address, " 10.65.0.9 ", "10.65.0.9"),
    (values.cidr_or_address, "10.65.1.0/24", "10.65.1.0/24"),
    (values.single_address, "10.65.0.8", "10.65.0.8/32"),
    (values.single_address, "fd80::1/128", "fd80::1/128"),
    (values.address4, "10.65.0.8", "10.65.0.8"),
    (values.address6, "FD80::1", "fd80::1"),
    (values.host_address(4, ""), "10.0.0.11/24", "10.0.0.11/24"),
    (values.host_address_or_address, "10.0.0.11", "10.0.0.11"),
    (values.host_address_or_address, "10.0.0.11/24", "10.0.0.11/24"),
    (values.as_number, 64512, 64512),
    (values.as_number, "64512", 64512),
    (values.as_number, "1.10", 65546),
    (values.as_number, "65535.65535", 2**32 - 1),
    (values.duration, "2m0s", "2m0s"),
    (values.duration, "1.5h", "1.5h"),
    (values.duration, "0", "0"),
    (values.select, 'rack == "r1" && !has(gpu)', 'rack == "r1" && !has(gpu)'),
    (values.mac, "ee:EE:ee:ee:ee:ee", "ee:EE:ee:ee:ee:ee"),
    (values.name, "a.b-c.1", "a.b-c.1"),
    (values.peer_ip, "172.18.0.254", "172.18.0.254"),
    (values.peer_ip, "172.18.0.254:1790", "172.18.0.254:1790"),
    (values.peer_ip, "FD80::1", "fd80::1"),
    (values.peer_ip, "[fd80::1]:1790", "[fd80::1]:1790"),
    (values.community, "65000:100", "65000:100"),
    (values.community, "4294967295:1:2", "4294967295:1:2"),
    (values.container_id, "4f0c9a5d2b", "4f0c9a5d2b"),
    (values.interface_name, "eth0.100", "eth0.100"),
    (values.number(20, 32), 26, 26),
    (values.flag, False, False),
    (values.one_of("Self", "Keep"), "Keep", "Keep"),
    (values.any_case("Info", "Debug"), "DEBUG", "Debug"),
    (values.tags(False), {"a.b/c-d": "x_y.z", "e": ""}, {"a.b/c-d": "x_y.z", "e": ""}),
    (values.tags(True), {"a": "anything: at all"}, {"a": "anything: at all"}),
]

WRONG = [
    (values.text, 5, "is not text; put it in quotes"),
    (values.flag, "yes", "is neither true nor false"),
    (values.flag, 1, "is neither true nor false"),
    (values.number(20, 32), 40, "is not in 20..32"),
    (values.number(20, 32), "26", "is not a whole number"),
    (values.number(0, 1), True, "is not a whole number"),
    (values.one_of("Self", "Keep"), "self", "is not one of Self, Keep"),
    (values.any_case("Info"), 5, "is not one of Info"),
    (values.name, "Pool", "is not a name"),
    (values.name, "pool_1", "is not a name"),
    (values.name, "-pool", "is not a name"),
    (values.name, "a..b", "is not a name"),
    (values.name, "a" * 254, "is not a name"),
    (values.name, 7, "is not a name"),
    (values.cidr, "10.65.0.0", "is not a CIDR"),
    (values.cidr, "10.65.0.0/33", "is not a CIDR"),
    (values.cidr, 10, "is not a CIDR"),
    (values.cidr, "10.65.0.1/16", "the network is 10.65.0.0/16"),
    (values.cidr_or_address, "10.65.0.1/16", "the network is 10.65.0.0/16"),
    (values.cidr_or_address, "here", "is neither a CIDR nor an address"),
    (values.single_address, "10.65.0.0/24", "is more than one address; use /32 or /128"),
    (values.single_address, "x", "is not a single address"),
    (values.single_address, "fe80::1%eth0/128", "is not a single address"),
    (values.cidr, "fe80::%eth0/64", "is not a CIDR"),
    (values.host_address(6, "fd99::11/64"), "fe80::1%eth0/64", "like fd99::11/64"),
    (values.host_address_or_address, "fe80::1%eth0/64", "is not an address"),
    (values.host_address_or_address, 5, "is not an address"),
    (values.address4, "fd80::1", "is not an IPv4 address"),
    (values.address6, "fe80::1%eth0", "is not an IPv6 address"),
    (values.host_address(4, "10.0.0.11/24"), "10.0.0.11", "like 10.0.0.11/24"),
    (values.host_address(6, "fd99::11/64"), "10.0.0.11/24", "like fd99::11/64"),
    (values.host_address_or_address, "10.0.0.11/33", "is not an address"),
    (values.as_number, 0, "is not an AS number; use 1..4294967295"),
    (values.as_number, 2**32, "is not an AS number"),
    (values.as_number, True, "is not an AS number"),
    (values.as_number, "1.65536", "is not an AS number"),
    (values.as_number, "AS64512", "is not an AS number"),
    (values.as_number, " 1", "is not an AS number"),
    (values.duration, "2 minutes", "is not a duration"),
    (values.duration, 120, "is not a duration"),
    (values.duration, "-2m", "is not a duration"),
    (values.select, "rack ==", "expected text in quotes at character 8"),
    (values.select, 5, "is not text"),
    (values.mac, "ee:ee", "is not a MAC address"),
    (values.container_id, "a.b", "is not a container id"),
    (values.interface_name, "a" * 16, "is not an interface's name"),
    (values.peer_ip, "172.18.0.254:0", "has port 0; use 1..65535"),
    (values.peer_ip, "fd80::1:99999", "is not an address, <IPv4>:<port> or [<IPv6>]:<port>"),
    (values.peer_ip, "[10.0.0.1]:179", "is not an address"),
    (values.peer_ip, "tor:179", "is not an address"),
    (values.peer_ip, 5, "is not an address"),
    (values.community, "65536:1", "is not a community"),
    (values.community, 65000, "is not a community"),
    (values.tags(False), [], "is not an object"),
    (values.tags(False), {"a b": "c"}, "has the key 'a b', which is not a label's"),
    (values.tags(False), {"a": "b c"}, "has for a 'b c', which is not a label's value"),
    (values.tags(False), {"a": True}, "has for a True, which is not text"),
]


@pytest.mark.parametrize(("parse", "given", "stored"), RIGHT)
def test_a_right_value_is_stored_in_its_usual_form(parse, given, stored):
    assert parse(given) == stored
    assert parse(stored) == stored


@pytest.mark.parametrize(("parse", "given", "what"), WRONG)
def test_a_wrong_value_is_told_with_what_is_right(parse, given, what):
    with pytest.raises(ValueError, match=r"^(is|has) ") as raised:
        parse(given)

    assert what in str(raised.value)
