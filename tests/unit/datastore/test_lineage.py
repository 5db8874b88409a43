from datastore.lineage import Header, Lineage

SEEN = Lineage(cluster_id=7, term=3, revision=100)


def test_before_the_first_answer_every_store_is_welcome():
    first = Header(cluster_id=7, term=2, revision=1)

    assert not Lineage().is_stale(first)
    assert not Lineage().is_other(first)
    assert Lineage().joined(first) == Lineage(cluster_id=7, term=2, revision=1)


def test_the_same_or_a_newer_revision_is_of_the_same_store():
    for header in (Header(7, 3, 100), Header(7, 3, 101), Header(7, 4, 100)):
        assert not SEEN.is_stale(header)
        assert not SEEN.is_other(header)


def test_an_older_revision_is_of_another_store_whatever_the_term():
    assert SEEN.is_other(Header(7, 3, 99))
    assert SEEN.is_other(Header(7, 9, 99))


def test_another_cluster_id_is_another_store_and_never_just_stale():
    other = Header(8, 1, 500)

    assert SEEN.is_other(other)
    assert not SEEN.is_stale(other)


def test_an_older_term_is_stale():
    assert SEEN.is_stale(Header(7, 2, 100))


def test_answers_that_overtake_each_other_join_to_the_newest():
    a, b = Header(7, 4, 101), Header(7, 3, 105)

    assert SEEN.joined(a).joined(b) == SEEN.joined(b).joined(a) == Lineage(7, 4, 105)


def test_another_store_begins_an_epoch_with_what_it_shows():
    assert SEEN.replaced(Header(8, 1, 5)) == Lineage(8, 1, 5, epoch=1)
