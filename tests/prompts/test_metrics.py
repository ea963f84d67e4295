"""Tests of the prompt metrics."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.errors import OptionError
from pytest_injectivity.prompts import metrics as metrics_module
from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric

Ids = tuple[int, ...]

METRICS = list(PromptMetric)
metrics = st.sampled_from(METRICS)
# A few ids make equal tokens likely; large ones do not fit a character.
prompt = st.lists(st.sampled_from([0, 1, 2, 55_296, 1_114_112, 2**62]), min_size=1, max_size=7)
prompts = st.lists(prompt.map(tuple), min_size=1, max_size=6)


def distance(metric: PromptMetric, left: Ids, right: Ids) -> float:
    """One pair, through the function for many."""
    return float(PairDistances(metric, [left, right])(np.array([0]), np.array([1]))[0])


def reference(metric: PromptMetric, left: Ids, right: Ids) -> float:
    """The textbook definition, exact until the last step."""
    longer = max(len(left), len(right))
    if metric.equal_lengths_only:
        if len(left) != len(right):
            return float("inf")
        edits = sum(a != b for a, b in zip(left, right, strict=True))
    else:
        edits = levenshtein(left, right)
    return float(Fraction(edits, longer)) if metric.per_length else float(edits)


def levenshtein(left: Ids, right: Ids) -> int:
    """Wagner and Fischer's dynamic programme, row by row."""
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("levenshtein", PromptMetric.LEVENSHTEIN),
        ("hamming", PromptMetric.HAMMING),
        ("levenshtein/length", PromptMetric.LEVENSHTEIN_PER_LENGTH),
        (" Hamming/Length ", PromptMetric.HAMMING_PER_LENGTH),
    ],
)
def test_parse(text: str, expected: PromptMetric) -> None:
    """Every text of the grammar names its metric."""
    assert expected is PromptMetric.parse(text)


@pytest.mark.parametrize("text", ["", "edit", "levenshtein/", "length", "hamming/tokens"])
def test_parse_refuses(text: str) -> None:
    """Any other text is refused with those that are accepted."""
    with pytest.raises(OptionError, match="'levenshtein', 'levenshtein/length', 'hamming', 'ham"):
        PromptMetric.parse(text)


@pytest.mark.parametrize(
    ("metric", "left", "right", "expected"),
    [
        (PromptMetric.LEVENSHTEIN, (1, 2, 3), (1, 3), 1.0),
        (PromptMetric.LEVENSHTEIN, (1, 2, 3, 4), (2, 3, 4, 1), 2.0),
        (PromptMetric.LEVENSHTEIN_PER_LENGTH, (1, 2, 3), (1, 3), 1 / 3),
        (PromptMetric.HAMMING, (1, 2, 3, 4), (2, 3, 4, 1), 4.0),
        (PromptMetric.HAMMING, (1, 2, 3), (1, 3), float("inf")),
        (PromptMetric.HAMMING_PER_LENGTH, (1, 2, 3, 4), (1, 2, 4, 4), 0.25),
    ],
)
def test_by_hand(metric: PromptMetric, left: Ids, right: Ids, expected: float) -> None:
    """Small cases worked by hand."""
    assert expected == distance(metric, left, right)


@given(metrics, prompts)
def test_equals_the_reference(metric: PromptMetric, ids: list[Ids]) -> None:
    """All pairs of a set equal the textbook definition, to the last bit."""
    left, right = (indices.ravel() for indices in np.indices((len(ids), len(ids))))
    expected = [reference(metric, ids[i], ids[j]) for i, j in zip(left, right, strict=True)]

    assert expected == PairDistances(metric, ids)(left, right).tolist()


def test_long_prompts_equal_the_reference() -> None:
    """Prompts of more than 64 tokens take another path in the library; they agree as well."""
    rng = np.random.default_rng(0)
    ids = [tuple(rng.integers(0, 9, rng.integers(60, 200)).tolist()) for _ in range(8)]
    left, right = (indices.ravel() for indices in np.indices((8, 8)))
    expected = [float(levenshtein(ids[i], ids[j])) for i, j in zip(left, right, strict=True)]

    assert expected == PairDistances(PromptMetric.LEVENSHTEIN, ids)(left, right).tolist()


def test_more_distinct_ids_than_the_basic_plane() -> None:
    """Ids past the 65,536 of the basic plane, and those where surrogates lie, stay distinct."""
    count = 70_000
    ids = [tuple(range(count)), tuple(range(1, count + 1)), tuple(range(0xD7FF, 0xD801)), (0xE000,)]

    hamming = PairDistances(PromptMetric.HAMMING, ids)(np.array([0]), np.array([1]))
    among_surrogates = PairDistances(PromptMetric.LEVENSHTEIN, ids)(np.array([2]), np.array([3]))

    assert [float(count)] == hamming.tolist()
    assert [2.0] == among_surrogates.tolist()


@given(metrics, prompt.map(tuple))
def test_identity(metric: PromptMetric, ids: Ids) -> None:
    """A prompt is 0 from itself."""
    assert 0.0 == distance(metric, ids, ids)


@given(metrics, prompt.map(tuple), prompt.map(tuple))
def test_symmetry(metric: PromptMetric, left: Ids, right: Ids) -> None:
    """The order of a pair does not matter."""
    assert distance(metric, left, right) == distance(metric, right, left)


@given(metrics, prompt.map(tuple), prompt.map(tuple))
def test_bounds_and_admissibility(metric: PromptMetric, left: Ids, right: Ids) -> None:
    """Distinct prompts are at least one edit and at most the longer length apart, or incomparable."""
    longer = max(len(left), len(right))
    least, most = (1 / longer, 1.0) if metric.per_length else (1.0, float(longer))
    comparable = metric.admissible(len(left), len(right))
    value = distance(metric, left, right)
    assert (value == np.inf) is not bool(comparable)
    assert value in {0.0, np.inf} or least <= value <= most
    assert (value == 0.0) is (left == right)


@given(
    st.sampled_from([PromptMetric.LEVENSHTEIN, PromptMetric.HAMMING]),
    st.lists(prompt.map(tuple), min_size=3, max_size=3),
)
def test_triangle_inequality(metric: PromptMetric, ids: list[Ids]) -> None:
    """Counts of edits obey the triangle inequality."""
    first, second = (distance(metric, *pair) for pair in pairwise(ids))

    assert distance(metric, ids[0], ids[2]) <= first + second


@given(
    st.integers(1, 6).flatmap(
        lambda n: st.lists(st.tuples(*[st.integers(0, 2)] * n), min_size=3, max_size=3)
    )
)
def test_triangle_inequality_of_hamming_per_length(ids: list[Ids]) -> None:
    """Hamming divided by the length, which three comparable prompts share, obeys it too."""
    metric = PromptMetric.HAMMING_PER_LENGTH
    first, second = (distance(metric, *pair) for pair in pairwise(ids))

    assert distance(metric, ids[0], ids[2]) <= first + second + 1e-15


def test_levenshtein_per_length_is_no_metric() -> None:
    """Divided by the longer length Levenshtein breaks the triangle inequality, as documented."""
    metric = PromptMetric.LEVENSHTEIN_PER_LENGTH
    outer = distance(metric, (1, 2), (2, 1))
    inner = distance(metric, (1, 2), (1, 2, 1)) + distance(metric, (1, 2, 1), (2, 1))

    assert (1.0, 2 / 3) == (outer, inner)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (PromptMetric.LEVENSHTEIN, [[3, 5], [3, 5]]),
        (PromptMetric.HAMMING, [[3, 5], [3, 5]]),
        (PromptMetric.LEVENSHTEIN_PER_LENGTH, [[1, 1], [1, 1]]),
        (PromptMetric.HAMMING_PER_LENGTH, [[1, 1], [1, 1]]),
    ],
)
def test_upper_bound_broadcasts(metric: PromptMetric, expected: list[list[float]]) -> None:
    """The bound of a block of pairs comes from a column and a row of lengths."""
    bound = metric.upper_bound(np.array([[2], [3]]), np.array([[3, 5]]))

    assert expected == bound.tolist()


@pytest.mark.parametrize("metric", METRICS)
def test_upper_bound_is_attained(metric: PromptMetric) -> None:
    """Prompts without a common token attain the bound, so it cannot be tighter."""
    assert metric.upper_bound(3, 3) == distance(metric, (1, 2, 3), (4, 5, 6))


@pytest.mark.parametrize("metric", METRICS)
def test_admissible_broadcasts(metric: PromptMetric) -> None:
    """Only Hamming asks for equal lengths, in blocks as for single pairs."""
    block = metric.admissible(np.array([[2], [3]]), np.array([[3, 2]]))
    expected = [[False, True], [True, False]] if metric.equal_lengths_only else [[True] * 2] * 2

    assert expected == block.tolist()
    assert metric.admissible(4, np.int64(4))


@given(metrics, prompts, st.data())
def test_take_is_the_metric_of_a_part(
    metric: PromptMetric, ids: list[Ids], data: st.DataObject
) -> None:
    """Taking some prompts gives the distances one has on building the part afresh."""
    kept = data.draw(st.lists(st.integers(0, len(ids) - 1), min_size=1))
    left, right = (indices.ravel() for indices in np.indices((len(kept), len(kept))))

    part = PairDistances(metric, ids).take(np.array(kept))

    expected = PairDistances(metric, [ids[i] for i in kept])
    assert expected(left, right).tolist() == part(left, right).tolist()
    assert expected.lengths.tolist() == part.lengths.tolist()


def test_no_pairs() -> None:
    """Asking for no pair gives no distance."""
    nothing = np.array([], np.int64)

    assert [] == PairDistances(PromptMetric.LEVENSHTEIN, [(1,)])(nothing, nothing).tolist()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("threads", [1, 2])
def test_known_distances_are_those_computed(metric: PromptMetric, threads: int) -> None:
    """Asked for again, of some of the prompts in another order, and on two threads."""
    rng = np.random.default_rng(0)
    ids = [tuple(rng.integers(0, 9, rng.integers(3, 6)).tolist()) for _ in range(60)]
    left, right = (side.ravel() for side in np.indices((60, 60)))
    whole = PairDistances(metric, ids)
    expected = [reference(metric, ids[i], ids[j]) for i, j in zip(left, right, strict=True)]
    assert expected == whole(left, right, threads=threads).tolist()
    assert expected == whole(left, right).tolist()
    kept = rng.permutation(60)[:20]
    left, right = (side.ravel() for side in np.indices((20, 20)))
    few = [reference(metric, ids[i], ids[j]) for i, j in zip(kept[left], kept[right], strict=True)]
    for afresh in (False, True):
        assert few == whole.take(kept, afresh=afresh)(left, right).tolist()


def test_layers_share_what_they_know_unless_asked_not_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second search over the same prompts computes no distance; one afresh computes all."""
    computed = []
    plain = metrics_module.cpdist
    monkeypatch.setattr(
        metrics_module,
        "cpdist",
        lambda left, right, **options: computed.append(len(left)) or plain(left, right, **options),
    )
    whole = PairDistances(PromptMetric.LEVENSHTEIN, [(1, 2), (2, 3), (4,)])
    pairs = np.array([0, 1]), np.array([1, 2])
    whole(*pairs)
    whole.take(np.arange(3))(*pairs)
    whole.take(np.arange(3), afresh=True)(*pairs)
    assert [2, 0, 2] == computed


@pytest.mark.parametrize("metric", PromptMetric)
def test_every_pair_of_some_prompts(metric: PromptMetric) -> None:
    """As they are asked for one by one; a prompt has no distance from itself."""
    ids = [(1, 2, 3), (1, 2), (4, 2, 3), (5,), (1, 3, 2)]
    distances = PairDistances(metric, ids)
    rows = np.array([0, 2, 4, 1])
    expected = distances(np.repeat(rows, 4), np.tile(rows, 4)).reshape(4, 4)
    np.fill_diagonal(expected, np.inf)
    assert np.array_equal(expected, distances.every_pair(rows))


def test_every_pair_is_kept_for_the_same_prompts_alone() -> None:
    """A second model's comparison finds the matrix of the first; other prompts have their own."""
    distances = PairDistances(PromptMetric.LEVENSHTEIN, [(1, 2), (1, 3), (4, 5)])
    first = distances.every_pair(np.array([0, 1]))
    assert distances.every_pair(np.array([0, 1])) is first
    assert 2.0 == distances.every_pair(np.array([0, 2]))[0, 1]
