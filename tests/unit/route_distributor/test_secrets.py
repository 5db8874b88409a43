import asyncio
import resource

import pytest

from datamodel.bgp import SecretRef
from route_distributor.secrets import SecretFiles


def write(directory, name, key, value):
    (directory / name).mkdir(exist_ok=True)
    (directory / name / key).write_bytes(value)


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_key_of_a_secret_is_a_file(tmp_path, end):
    write(tmp_path, "bgp", "rack", b" s3cret " + end)

    assert SecretFiles(tmp_path).read() == {SecretRef("bgp", "rack"): " s3cret "}


def test_secrets_are_read_as_kubernetes_mounts_them(tmp_path):
    version = tmp_path / "bgp" / "..2026_11_20"
    version.mkdir(parents=True)
    (version / "rack").write_text("one")
    (tmp_path / "bgp" / "..data").symlink_to("..2026_11_20")
    (tmp_path / "bgp" / "rack").symlink_to("..data/rack")

    assert SecretFiles(tmp_path).read() == {SecretRef("bgp", "rack"): "one"}


def test_what_cannot_be_read_is_not_there(tmp_path):
    write(tmp_path, "bgp", "good", b"one")
    write(tmp_path, "bgp", "binary", b"\xff")
    (tmp_path / "bgp" / "gone").symlink_to("nowhere")
    (tmp_path / "file").write_text("no secret")

    assert SecretFiles(tmp_path).read() == {SecretRef("bgp", "good"): "one"}


def test_a_directory_that_cannot_be_listed_is_not_there(tmp_path):
    write(tmp_path, "bgp", "rack", b"one")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # nothing more can be opened
    try:
        found = SecretFiles(tmp_path).read()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert found == {}


def test_the_directory_need_not_be_there(tmp_path):
    assert SecretFiles(tmp_path / "none").read() == {}


async def next_change(secrets) -> bool:
    try:
        async with asyncio.timeout(0.2):
            await secrets.changed()
    except TimeoutError:
        return False
    return True


async def test_a_change_is_noticed_once(tmp_path):
    secrets = SecretFiles(tmp_path, look_s=0.01)
    write(tmp_path, "bgp", "rack", b"one")
    secrets.read()
    assert not await next_change(secrets)
    write(tmp_path, "bgp", "rack", b"two")

    assert await next_change(secrets)

    assert not await next_change(secrets)
