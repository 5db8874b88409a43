"""Which drop-in of NetworkManager, networkd and udev counts for a link of ours."""

import pytest

from ocicatctl.doctor.drop_ins import LINKS, DropIn, decides, effective, setting, unmanaged
from tests.unit.ocicatctl.doctor.healthy import PUT

POD = "cali0123456789a"
OURS = PUT["05-ocicat.network"]


def network(match: str, name: str = "00-x.network") -> DropIn:
    return DropIn(f"/etc/systemd/network/{name}", f"[Match]\n{match}\n[Network]\nDHCP=yes\n")


def manager(text: str, name: str = "x.conf") -> DropIn:
    return DropIn(f"/etc/NetworkManager/conf.d/{name}", text)


@pytest.mark.parametrize("link", LINKS)
def test_what_install_puts_there_counts_for_every_link_of_ours(link):
    decided = decides([OURS], link)

    assert decided == OURS
    assert setting(OURS, "Link", "Unmanaged") == "yes"
    assert decides([PUT["05-ocicat.link"]], link)
    assert unmanaged([PUT["zz-ocicat.conf"]], link)[0]


@pytest.mark.parametrize(
    ("match", "takes"),
    [
        ("Name=*", True),
        ("Name=en* cali*", True),
        ("Name=en*", False),
        ("Name=!en*", True),
        ("Type=ether", True),
        ("Type=ether\nDriver=virtio_net", False),
        ("Kind=veth", True),
        ("Kind=!*", False),
        ("MACAddress=02:00:00:00:00:01", False),
        ("", True),
    ],
)
def test_a_network_file_takes_pods_links_or_does_not(match, takes):
    assert (decides([network(match)], POD) is not None) is takes


def test_the_first_by_name_counts_and_one_in_etc_hides_that_of_the_vendor():
    vendor = network("Name=*", "05-ocicat.network")
    files = effective([[network("Name=*", "10-all.network"), OURS], [vendor]])

    assert decides(files, POD) == OURS


def test_an_empty_file_hides_and_is_none():
    masked = DropIn("/etc/systemd/network/99-default.link", "")
    vendor = DropIn("/usr/lib/systemd/network/99-default.link", "[Match]\nOriginalName=*\n")

    assert effective([[masked], [vendor]]) == []


@pytest.mark.parametrize(
    ("texts", "is_left_alone"),
    [
        (["[keyfile]\nunmanaged-devices=interface-name:cali*"], True),
        (["[keyfile]\nunmanaged-devices+=interface-name:cali*;driver:ipip"], True),
        (
            [
                "[keyfile]\nunmanaged-devices=interface-name:cali*",
                "[keyfile]\nunmanaged-devices=mac:02:00:00:00:00:01",
            ],
            False,
        ),
        (
            [
                "[keyfile]\nunmanaged-devices=interface-name:cali*",
                "[keyfile]\nunmanaged-devices-=interface-name:cali*",
            ],
            False,
        ),
        (["[device-x]\nmatch-device=interface-name:cali*\nmanaged=0"], True),
        (["[device-x]\nmatch-device=interface-name:eth*\nmanaged=0"], False),
        (["# unmanaged-devices=interface-name:cali*"], False),
        ([], False),
    ],
)
def test_networkmanager_leaves_alone_what_the_last_word_says(texts, is_left_alone):
    assert unmanaged([manager(text) for text in texts], POD)[0] is is_left_alone
