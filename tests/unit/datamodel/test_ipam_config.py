import pytest

from datamodel.errors import Invalid
from datamodel.ipam_config import DEFAULT_MAX_BLOCKS, IpamConfig


def test_without_a_config_nodes_claim_and_borrow_as_calico_does():
    config = IpamConfig()

    assert config.auto_allocate_blocks
    assert not config.strict_affinity
    assert config.block_limit == DEFAULT_MAX_BLOCKS
    assert config.checked() is config


@pytest.mark.parametrize(("maximum", "limit"), [(0, 20), (1, 1), (400, 400), (-1, 20)])
def test_a_limit_of_zero_is_the_default(maximum, limit):
    assert IpamConfig(max_blocks_per_host=maximum).block_limit == limit


@pytest.mark.parametrize(
    "right",
    [
        {"strict_affinity": True},
        {"strict_affinity": True, "auto_allocate_blocks": False},
        {"strict_affinity": True, "max_blocks_per_host": 4},
        {"ip_cooldown_s": 1200},
    ],
)
def test_a_right_config_has_no_mistakes(right):
    assert IpamConfig(**right).mistakes() == []


@pytest.mark.parametrize(
    ("wrong", "mistake"),
    [
        (
            {"auto_allocate_blocks": False},
            "strict_affinity and auto_allocate_blocks are both off, "
            "so that nodes would only borrow; turn one on",
        ),
        ({"max_blocks_per_host": 4}, "maxBlocksPerHost 4 needs strict_affinity; turn it on"),
        ({"max_blocks_per_host": -4}, "maxBlocksPerHost -4 is negative"),
        ({"ip_cooldown_s": -1}, "ipCooldownSeconds -1 is not in 0..1200"),
        ({"ip_cooldown_s": 1201}, "ipCooldownSeconds 1201 is not in 0..1200"),
    ],
)
def test_a_mistake_is_named(wrong, mistake):
    config = IpamConfig(**wrong)

    assert config.mistakes() == [mistake]
    with pytest.raises(Invalid) as caught:
        config.checked()
    assert str(caught.value) == f"IPAM config: {mistake}"


def test_every_mistake_is_reported_at_once():
    config = IpamConfig(auto_allocate_blocks=False, max_blocks_per_host=1, ip_cooldown_s=9999)

    assert len(config.mistakes()) == 3
