from pytest_injectivity.config.release_place import Place
from pytest_injectivity.plan.attack_work import AttackWork, Walk

VOCAB = 1000


def _work(*places: Place, free_running: int = 0) -> AttackWork:
    return AttackWork.of(Walk(places, prompts=4, tokens=6, free_running=free_running), VOCAB)


def test_a_table_for_each_prefix() -> None:
    """One for all prompts at the first position, then one a prompt and position."""
    assert (1 + 4 * 5) * VOCAB == _work(Place(2)).candidates


def test_releases_share_the_tables() -> None:
    """A second release compares its own rows and runs no further token."""
    one, two = _work(Place(2)), _work(Place(2), Place(4))
    assert one.candidates == two.candidates
    assert 2 * one.compared == two.compared > 0


def test_attackers_that_go_on_from_their_own_answers_run_more() -> None:
    """For each release, and no more than there are prompts."""
    none, some, all_, more = (_work(Place(2), free_running=one) for one in (0, 2, 4, 9))
    assert none.candidates < some.candidates < all_.candidates
    assert all_ == more
    assert _work(Place(2), Place(2), free_running=4).candidates > all_.candidates


def test_a_gap_is_searched_where_it_is_short() -> None:
    """A last state of three tokens costs vocabularies; of six tokens next to nothing."""
    short = AttackWork.of(Walk([Place(2, last=True)], 4, 3, 0), VOCAB)
    assert 4 * 3 * VOCAB < short.candidates
    assert VOCAB > _work(Place(2, last=True)).candidates > 0


def test_a_budget_prunes_where_the_whole_vocabulary_is_more() -> None:
    """Behind each prefix no more than its share of the budget is run."""
    tables = _work(Place(2)).candidates
    walk = Walk([Place(2)], 4, 6, 0, budget=tables)
    few = Walk([Place(2)], 4, 6, 0, budget=2000)
    assert not walk.pruned(VOCAB)
    assert few.pruned(VOCAB)
    assert tables == AttackWork.of(walk, VOCAB).candidates
    assert VOCAB + 2100 > AttackWork.of(few, VOCAB).candidates
