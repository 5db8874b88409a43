"""A node's namespace and those of two pods, gone after the test."""

from collections.abc import Iterator

import pytest

from tests.netns.namespaces import namespaces


@pytest.fixture
def node_and_pods() -> Iterator[list[str]]:
    with namespaces("node", "pod1", "pod2") as names:
        yield names
