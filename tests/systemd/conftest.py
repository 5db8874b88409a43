"""One machine for the tests of this folder."""

import sys

import pytest

from tests.systemd.machine import Machine


@pytest.fixture(scope="module")
def machine(request, tmp_path_factory):
    """Booted, with nothing of ours but what is in /opt; its journal is shown if a test failed."""
    machine = Machine(tmp_path_factory.mktemp("machine"))
    try:
        yield machine
        if request.session.testsfailed:
            sys.stderr.write(machine.run("journalctl", "--no-pager", "-n100", "-uocicat*").stdout)
    finally:
        machine.down()
