"""What the kernel tells of changes of nftables."""

from collections.abc import Iterator
from contextlib import contextmanager

from kernel_api.nfnetlink import NFPROTO_INET, Heard, NftablesWatch, Table
from tests.netns.namespaces import inside, namespaces, run_in

ONE, OTHER = Table(NFPROTO_INET, "one"), Table(2, "other")  # 2: NFPROTO_IPV4


@contextmanager
def watched(**watch: int) -> Iterator[tuple[str, NftablesWatch]]:
    with namespaces("node") as (name,):
        with inside(name):
            listening = NftablesWatch(**watch)
        try:
            yield name, listening
        finally:
            listening.close()


def test_each_transaction_is_told_with_the_tables_that_it_touched():
    with watched() as (name, watch):
        assert watch.heard() == Heard((), is_complete=True)
        run_in(name, "nft", "add table inet one; add table ip other")
        run_in(name, "nft", "add chain ip other c")

        heard = watch.heard()

        assert heard == Heard((frozenset({ONE, OTHER}), frozenset({OTHER})), is_complete=True)
        assert (heard.count(ONE), heard.count(OTHER)) == (1, 2)
        assert watch.heard() == Heard((), is_complete=True)


def test_it_is_told_when_there_was_too_much_to_hear():
    with watched(buffer=4096) as (name, watch):
        run_in(name, "nft", "add table ip other")
        run_in(name, "nft", "; ".join(f"add chain ip other c{i}" for i in range(200)))

        assert not watch.heard().is_complete
        run_in(name, "nft", "add table inet one")
        assert watch.heard().is_complete
