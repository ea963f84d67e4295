"""Which prompts share the computation of their beginning, and that no choice saves more."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.states.batches import GRAIN
from pytest_injectivity.states.shared_prefixes import Group, group_by_prefix

Prompt = tuple[int, ...]

# Few tokens make common beginnings common.
prompt_sets = st.lists(
    st.lists(st.integers(0, 1), min_size=1, max_size=8).map(tuple),
    min_size=1,
    max_size=12,
    unique=True,
)
constants = st.tuples(st.integers(1, 3), st.integers(1, 9))


def grouped(prompts: list[Prompt], grain: int, least: int) -> tuple[Group, ...]:
    """The groups with a grain and a least saving small enough for tiny sets."""
    return group_by_prefix(prompts, least_saving=least, grain=grain)


def saved(groups: tuple[Group, ...]) -> int:
    """Tokens that do not go through the model."""
    return sum(len(group.shared) * (len(group.rows) - 1) for group in groups)


def best_saving(prompts: list[Prompt], grain: int, least: int) -> int:
    """By trying every set of beginnings whose prompts do not overlap."""
    nodes = []
    beginnings = {prompt[:cut] for prompt in prompts for cut in range(grain, len(prompt), grain)}
    for beginning in beginnings:
        rows = frozenset(
            row
            for row, prompt in enumerate(prompts)
            if len(prompt) > len(beginning) and prompt[: len(beginning)] == beginning
        )
        saving = len(beginning) * (len(rows) - 1)
        if saving >= least:
            nodes.append((rows, saving))

    def totals(at: int, taken: frozenset[int], total: int) -> Iterator[int]:
        if at == len(nodes):
            yield total
            return
        rows, saving = nodes[at]
        yield from totals(at + 1, taken, total)
        if not rows & taken:
            yield from totals(at + 1, taken | rows, total + saving)

    return max(totals(0, frozenset(), 0))


@given(prompts=prompt_sets, constants=constants)
def test_groups_cover_every_prompt_once(prompts: list[Prompt], constants: tuple[int, int]) -> None:
    """Whether or not they share anything."""
    rows = [row for group in grouped(prompts, *constants) for row in group.rows]
    assert list(range(len(prompts))) == sorted(rows)


@given(prompts=prompt_sets, constants=constants)
def test_every_prompt_continues_what_its_group_shares(
    prompts: list[Prompt], constants: tuple[int, int]
) -> None:
    """It begins with it and is longer, by the token whose state is wanted."""
    groups = grouped(prompts, *constants)
    assert groups
    for group in groups:
        assert 0 == len(group.shared) % constants[0]
        for row in group.rows:
            assert group.shared == prompts[row][: len(group.shared)]
            assert len(prompts[row]) > len(group.shared)


@given(prompts=prompt_sets, constants=constants)
def test_the_saving_is_the_best_possible(prompts: list[Prompt], constants: tuple[int, int]) -> None:
    """Of beginnings none of which begins another's prompts, by brute force; each one pays."""
    groups = grouped(prompts, *constants)
    assert best_saving(prompts, *constants) == saved(groups)
    for group in groups:
        assert not group.shared or len(group.shared) * (len(group.rows) - 1) >= constants[1]


@given(prompts=prompt_sets, constants=constants, data=st.data())
def test_prompt_order_does_not_matter(
    prompts: list[Prompt], constants: tuple[int, int], data: st.DataObject
) -> None:
    """The same prompts share the same beginnings."""

    def shared(prompts: list[Prompt]) -> set[tuple[Prompt, frozenset[Prompt]]]:
        groups = grouped(prompts, *constants)
        return {(group.shared, frozenset(prompts[row] for row in group.rows)) for group in groups}

    assert shared(prompts) == shared(data.draw(st.permutations(prompts)))


def test_a_template_is_shared_and_the_rest_runs_together() -> None:
    """As the constants are: 50 prompts behind 70 tokens save 64 tokens each, three others nothing."""
    template = tuple(range(100, 170))
    others = [(1, 2), (3,), (1, 2, 4)]
    prompts = [*others, *((*template, at, at + 1) for at in range(50))]
    shared, alone = group_by_prefix(prompts)
    assert template[:64] == shared.shared
    assert set(range(3, 53)) == set(shared.rows)
    assert Group((0, 1, 2)) == alone


def test_a_saving_that_does_not_pay_is_left_alone() -> None:
    """One more pass, and batches of its own, for 31 prompts behind 64 tokens: under 2,048."""
    prompts = [(*range(64), 100 + at, 7) for at in range(32)]
    assert (Group(tuple(range(32))),) == group_by_prefix(prompts)
    prompts.append((*range(64), 200, 7))
    (group,) = group_by_prefix(prompts)
    assert tuple(range(64)) == group.shared


def test_the_prompt_that_is_the_beginning_itself_runs_alone() -> None:
    """Its last token's state is wanted, and a shared prefix gives no states."""
    beginning = tuple(range(64))
    prompts = [beginning, *((*beginning, 100 + at) for at in range(40))]
    shared, alone = group_by_prefix(prompts)
    assert beginning == shared.shared
    assert (0,) == alone.rows


def test_shared_prefixes_keep_the_context_canonical() -> None:
    """What is left of a context of 1,024 is a multiple of 8, as batches want it."""
    prompts = [(*range(1004), at, 3) for at in range(2000, 2010)]
    (group,) = group_by_prefix(prompts)
    assert 1000 == len(group.shared)
    assert 0 == (1024 - len(group.shared)) % GRAIN


def test_equal_prompts_are_no_error() -> None:
    """A set is deduplicated before; if it is not, nothing breaks."""
    groups = group_by_prefix([tuple(range(100))] * 40)
    assert 39 * 96 == saved(groups)


def test_no_sharing_is_one_group() -> None:
    """All prompts in file order."""
    assert Group((0, 1, 2)) == Group.all_of([(1,), (2,), (3,)])
