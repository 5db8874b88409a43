import json

import pytest

from datamodel.errors import Invalid
from datastore import codec, keys
from datastore.known import Known
from datastore.memory import MemoryStore
from datastore.store import Change, settle
from ocicatctl.ipam.configure import decide

KEY = keys.IPAM_CONFIG


async def configured(changes: dict, stored: bytes | None) -> dict:
    store = MemoryStore()
    if stored is not None:
        await store.commit(Change(put={KEY: stored}))
    known = Known()
    await settle(store, known, lambda: decide(changes, known))
    return json.loads((await store.read(KEY)).entries[KEY].value)


async def test_what_is_not_named_stays_with_fields_that_nobody_knows():
    stored = b'{"strict_affinity":true,"auto_allocate_blocks":true,"future":{"x":[1]}}'

    assert await configured({"MaxBlocksPerHost": 4}, stored) == {
        "strict_affinity": True,
        "auto_allocate_blocks": True,
        "maxBlocksPerHost": 4,
        "future": {"x": [1]},
    }


async def test_each_setting_has_calicos_field():
    changes = {
        "StrictAffinity": True,
        "AutoAllocateBlocks": False,
        "MaxBlocksPerHost": 3,
        "IPCooldownSeconds": 30,
        "KubeVirtVMAddressPersistence": "Enabled",
    }

    assert await configured(changes, None) == {
        "strict_affinity": True,
        "maxBlocksPerHost": 3,
        "kubeVirtVMAddressPersistence": "Enabled",
        "ipCooldownSeconds": 30,
    }


async def test_where_none_is_stored_the_others_are_as_ipamd_would_write_them():
    found = await configured({"IPCooldownSeconds": 5}, None)

    assert found == {**json.loads(codec.DEFAULT_IPAM_CONFIG), "ipCooldownSeconds": 5}


@pytest.mark.parametrize(
    ("changes", "stored", "words"),
    [
        ({"StrictAffinity": False}, b'{"strict_affinity":true}', "both off"),
        (
            {"AutoAllocateBlocks": False},
            b'{"auto_allocate_blocks":true}',
            "both off",
        ),
        (
            {"StrictAffinity": False},
            b'{"strict_affinity":true,"auto_allocate_blocks":true,"maxBlocksPerHost":4}',
            "maxBlocksPerHost 4 needs strict_affinity",
        ),
        ({"MaxBlocksPerHost": 4}, b'{"auto_allocate_blocks":true}', "needs strict_affinity"),
        ({"IPCooldownSeconds": 1201}, None, "ipCooldownSeconds 1201 is not in"),
        ({"IPCooldownSeconds": 1}, b"[", f"etcd key {KEY}: value is not JSON"),
        ({"IPCooldownSeconds": 1}, b'{"strict_affinity":"yes"}', "strict_affinity"),
    ],
)
async def test_a_config_that_breaks_a_rule_is_refused_and_nothing_written(changes, stored, words):
    store = MemoryStore()
    if stored is not None:
        await store.commit(Change(put={KEY: stored}))
    before, known = await store.read(KEY), Known()

    with pytest.raises(Invalid, match=words):
        await settle(store, known, lambda: decide(changes, known))

    assert await store.read(KEY) == before


async def test_somebody_elses_change_in_between_is_kept():
    store, known = MemoryStore(), Known()
    await store.commit(Change(put={KEY: b'{"strict_affinity":true}'}))
    known.take(await store.read(KEY))
    await store.commit(
        Change(put={KEY: b'{"strict_affinity":true,"auto_allocate_blocks":true,"other":1}'})
    )

    await settle(store, known, lambda: decide({"MaxBlocksPerHost": 2}, known))

    found = json.loads((await store.read(KEY)).entries[KEY].value)
    assert (found["other"], found["auto_allocate_blocks"], found["maxBlocksPerHost"]) == (
        1,
        True,
        2,
    )
