"""The cluster of machines for all tests of this folder."""

import sys

import pytest

from tests.vm import image
from tests.vm.cluster import Cluster


@pytest.fixture(scope="session")
def cluster(request, tmp_path_factory):
    """Three nodes and a router, gone after all tests; what they logged is shown if one failed."""
    if why := image.missing():
        pytest.skip(why)
    cluster = Cluster(tmp_path_factory.mktemp("machines"))
    try:
        yield cluster
        if request.session.testsfailed:
            sys.stderr.write(cluster.report())
    finally:
        cluster.down()
