"""What becomes of a release that ipamd does not take."""

import pytest

from cni_plugin.cmd_del import give_back
from cni_plugin.parts import Parts
from cni_plugin.spool import Spool
from datamodel.attachment import Attachment
from datamodel.errors import Unavailable
from ipam_api.client import IpamClient

ATTACHMENT = Attachment("net", "c1", "eth0")


@pytest.fixture
def ipam(tmp_path):
    """A client whose daemon is not there."""
    client = IpamClient(str(tmp_path / "ipamd.sock"))
    yield client
    client.close()


def test_it_is_kept_for_later(ipam, tmp_path):
    spool = Spool(str(tmp_path / "releases"))

    give_back(ATTACHMENT, None, Parts(ipam, spool))

    assert spool.take_back(ATTACHMENT)


def test_if_it_cannot_be_kept_the_error_does_not_read_like_a_success(ipam, tmp_path):
    (tmp_path / "full").write_text("no directory, as good as one without room")
    spool = Spool(str(tmp_path / "full"))

    with pytest.raises(Unavailable) as caught:
        give_back(ATTACHMENT, None, Parts(ipam, spool))

    text = str(caught.value)
    assert "net.c1" in text
    assert "OCICAT_SPOOL_DIR" in text
    # containerd takes a DEL for done whose error has these words in it
    assert "not found" not in text.lower()
    assert "no such file" not in text.lower()
