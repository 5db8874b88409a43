"""Looks at once: one that fails, hangs or breaks leaves its own areas unseen and no others."""

import threading
import time
from pathlib import Path

import pytest

from datamodel.errors import Unavailable
from ocicatctl.doctor.facts import CniServer, Etcd, Host, Ipamd, NotSeen, Routing
from ocicatctl.doctor.looking import Look, look
from ocicatctl.doctor.settings import Settings


def test_what_is_seen_before_a_look_hangs_counts_and_the_rest_is_told():
    ever = threading.Event()

    def hangs(settings):
        yield Etcd()
        ever.wait(60)

    def refuses(settings):
        raise Unavailable("ipamd: does not answer")
        yield

    def breaks(settings):
        yield CniServer()
        raise ZeroDivisionError("by zero")

    def is_refused(settings):
        yield from Path("/nowhere/at/all").read_text()

    looks = (
        Look((Etcd, Routing), hangs),
        Look((Ipamd,), refuses),
        Look((CniServer, Host), breaks),
        Look((Settings,), is_refused),
    )
    begun = time.monotonic()
    seen = look(Settings(), looks, deadline_s=0.3)

    assert time.monotonic() - begun < 10
    ever.set()
    assert seen.of(Etcd) == Etcd()
    assert seen.of(CniServer) == CniServer()
    assert seen.unseen == {
        Routing: "was not seen within 0.3 s",
        Ipamd: "ipamd: does not answer",
        Host: "the look failed: ZeroDivisionError: by zero",
        Settings: "/nowhere/at/all: No such file or directory",
    }
    with pytest.raises(NotSeen, match="ipamd: does not answer"):
        seen.of(Ipamd)
