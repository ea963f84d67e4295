from pytest_injectivity.results.plan import LIMIT, Phase, Plan


def test_a_phase_is_long_beyond_thirty_seconds() -> None:
    """At the limit it is not."""
    assert 30 == LIMIT
    assert not Phase("a", "b", 30.0).is_long
    assert Phase("a", "b", 30.1).is_long


def test_the_sentence_says_what_how_long_and_which_flag() -> None:
    """In that order."""
    phase = Phase("hidden states", "10 prompts", 95.0, shorter_by="--injx-max-prompts")
    assert (
        "injectivity: hidden states: 10 prompts: about 1 min 35 s; shorter by --injx-max-prompts"
    ) == phase.sentence


def test_a_phase_that_nothing_shortens_names_no_flag() -> None:
    """The sentence ends with the time."""
    assert Phase("resolution", "16 prompts", 40.0).sentence.endswith("about 40 s")


def test_a_plan_sums_its_phases() -> None:
    """Seconds and token-forwards."""
    phases = (Phase("a", "b", 1.5, token_forwards=3), Phase("c", "d", 2.0, token_forwards=4))
    plan = Plan(phases, "model", "prompts", "memory", "rates")
    assert (3.5, 7) == (plan.seconds, plan.token_forwards)


def test_work_that_only_a_run_finds_says_the_most() -> None:
    """Beside what is typical, before it begins."""
    phase = Phase("colliding changes", "1 pair", 95.0, between=(2.0, 180.0))
    assert phase.sentence.endswith("about 1 min 35 s, at most 3 min")


def test_a_plan_takes_between_the_sums() -> None:
    """Of phases without a range the least is the most."""
    phases = (Phase("a", "b", 1.5), Phase("c", "d", 2.0, between=(1.0, 4.0)))
    assert (2.5, 5.5) == Plan(phases, "m", "p", "w", "r").span
    assert (0, 0) == Plan((), "m", "p", "w", "r").span
