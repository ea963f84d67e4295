import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_injectivity.results.history.course import FALSE_ALARMS, CourseFate, courses
from pytest_injectivity.results.history.history import History, read_history
from pytest_injectivity.results.history.past_run import PastModel, PastRun
from pytest_injectivity.results.history.track import tracks
from pytest_injectivity.results.run_origin import RunOrigin
from pytest_injectivity.results.saved_runs import Stamp
from tests.pasts import Factor, noisy, past, same
from tests.recordings import NUMBERS, RUN

STAMP = Stamp(
    **{name: RUN[name] for name in ("model", "dtype", "device", "family", "n_layers", "hidden")},
    **{name: RUN[name] for name in ("vocab", "prompts", "n", "prompt_hash", "special_tokens")},
    prompt_metric="levenshtein",
    seed=0,
)


def _read(folder: Path, factor: Factor, runs: int = 10) -> History:
    return read_history([past(folder, factor, runs)])


def _fates(
    layers: list[dict[str, dict[str, float]]], stamp: Stamp = STAMP
) -> dict[tuple[str, str], CourseFate]:
    """What became of the numbers of these runs."""
    made = [
        PastRun(
            f"{at:04d}.json",
            RunOrigin(f"2026-01-01T{at // 60:02d}:{at % 60:02d}:00+00:00"),
            {"mine": PastModel(stamp, one, {}, {})},
        )
        for at, one in enumerate(layers)
    ]
    ((track,), _) = tracks(made)
    return {(one.label, one.number): one.fate for one in courses(track)}


def _only(numbers: list[float], name: str = "margin_q", stamp: Stamp = STAMP) -> CourseFate:
    return _fates([{"norm": {name: one}} for one in numbers], stamp)["norm", name]


@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-4, 2e-3])
def test_a_drift_of_five_percent_at_one_layer_is_flagged(tmp_path: Path, noise: float) -> None:
    """Ten runs, of which the last has other numbers at one layer; no other layer is named."""
    background = noisy(noise)

    def drifted(run: int, label: str, metric: str) -> float:
        hit = run == 9 and label == "layer02" and metric != "resolution"
        return background(run, label, metric) * (0.95 if hit else 1.0)

    flags = _read(tmp_path, drifted).flags
    assert {"layer02"} == {flag.partition(":")[0] for flag in flags}
    names = {flag.split()[1] for flag in flags}
    assert {"mean_norm", "median_norm", "margin", "margin_q", "colipschitz"} < names


@pytest.mark.parametrize("metric", ["mean_norm", "margin", "margin_q", "colipschitz_q"])
def test_a_drift_of_one_number_is_flagged(tmp_path: Path, metric: str) -> None:
    """Five percent of one metric at one layer."""

    def drifted(run: int, label: str, name: str) -> float:
        return 0.95 if (run, label, name) == (9, "norm", metric) else 1.0

    (flag,) = _read(tmp_path, drifted).flags
    assert flag.startswith(f"norm: {metric} ")
    assert flag.endswith("(against the usual, -5 %; allowed 2 %)")


@pytest.mark.parametrize("noise", [0.0, 1e-6, 1e-3, 5e-3])
def test_ten_healthy_runs_are_not_flagged(tmp_path: Path, noise: float) -> None:
    """Whatever the noise of machines and versions is."""
    history = _read(tmp_path, noisy(noise))
    assert () == history.flags
    assert history.findings[0].track.judged


@pytest.mark.parametrize(
    ("creep", "against"),
    [(0.05, "against the usual, -2.84 %"), (0.03, "against the first runs, -2.68 %")],
)
def test_a_slow_creep_is_flagged(tmp_path: Path, creep: float, against: str) -> None:
    """Over ten runs; one of three percent is less than the usual number shows."""

    def creeping(run: int, label: str, metric: str) -> float:
        hit = label == "layer03" and metric == "margin_q"
        return 1.0 - creep * run / 9 if hit else 1.0

    (flag,) = _read(tmp_path, creeping).flags
    assert flag.startswith("layer03: margin_q ")
    assert against in flag


def test_a_slow_creep_over_many_runs_is_flagged() -> None:
    """The first runs stay the first ones, however many follow."""
    assert CourseFate.DRIFTED == _only([1.0 - 0.0005 * run for run in range(100)])


def test_a_drift_to_the_better_is_none(tmp_path: Path) -> None:
    """It is counted; of a norm, which is better neither way, it is a drift."""

    def grown(run: int, label: str, metric: str) -> float:
        hit = run == 9 and label == "norm" and metric in ("margin_q", "mean_norm")
        return 1.05 if hit else 1.0

    history = _read(tmp_path, grown)
    assert ["norm: mean_norm"] == [flag[:15] for flag in history.flags]
    assert ["margin_q"] == [one.number for one in history.findings[0].better]


def test_a_jump_that_stays_is_the_usual_number_in_time() -> None:
    """Against the first runs it stays a drift, until the history begins later."""
    jumped = [1.0] * 5 + [0.9] * 15
    assert CourseFate.DRIFTED == _only(jumped)
    assert CourseFate.KEPT == _only(jumped[5:])
    assert CourseFate.DRIFTED == _only([*jumped[5:], 0.85])


def test_one_bad_run_in_the_past_hides_no_drift() -> None:
    """Neither the median nor the noise of steps is moved by it."""
    assert CourseFate.DRIFTED == _only([1.0, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0, 0.95])
    assert CourseFate.KEPT == _only([1.0, 1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize("name", ["collisions", "not_finite"])
def test_one_more_of_a_count_is_a_drift(name: str) -> None:
    """Counts have no share that is allowed."""
    assert CourseFate.DRIFTED == _only([0, 0, 0, 0, 1], name)
    assert CourseFate.KEPT == _only([3, 3, 3, 3, 3], name)
    assert CourseFate.BETTER == _only([3, 3, 3, 3, 2], name)


def test_a_resolution_may_be_three_times_as_large() -> None:
    """It is the largest distance among a few prompts, and another machine has another one."""
    assert CourseFate.KEPT == _only([1e-5] * 9 + [2.9e-5], "resolution")
    assert CourseFate.DRIFTED == _only([1e-5] * 9 + [3.1e-5], "resolution")


@pytest.mark.parametrize(
    ("name", "share", "fate"),
    [
        ("margin_q", 0.039, CourseFate.KEPT),
        ("margin_q", 0.05, CourseFate.DRIFTED),
        ("mean_norm", 0.03, CourseFate.DRIFTED),
    ],
)
def test_distances_in_half_precision_may_change_by_more(
    name: str, share: float, fate: CourseFate
) -> None:
    """By what kernels make of them; norms hardly change."""
    numbers = [1.0] * 9 + [1.0 - share]
    assert fate == _only(numbers, name, replace(STAMP, dtype="bfloat16"))


def test_a_share_of_pairs_may_change_by_two_pairs() -> None:
    """Of 12 prompts there are 66 pairs."""
    name = "near_fractions 0.01"
    assert CourseFate.KEPT == _only([0.0] * 9 + [2 / 66], name)
    assert CourseFate.DRIFTED == _only([0.0] * 9 + [3 / 66], name)


@pytest.mark.parametrize(("runs", "fate"), [(3, CourseFate.NEW), (4, CourseFate.DRIFTED)])
def test_the_fourth_run_is_the_first_that_is_judged(runs: int, fate: CourseFate) -> None:
    """Three runs before it make its usual number."""
    assert fate == _only([1.0] * (runs - 1) + [0.5])


def test_a_number_that_most_runs_have_may_not_vanish() -> None:
    """One that was measured now and then may."""
    every = [{"norm": {"margin": 1.0, "margin_q": 1.0}}] * 5
    now = {"norm": {"margin": 1.0}}
    assert CourseFate.GONE == _fates([*every, now])["norm", "margin_q"]
    assert CourseFate.NEW == _fates([every[0], now, now, now, now])["norm", "margin_q"]


def test_a_number_from_zero_has_no_share() -> None:
    """Margins of 0 that stay 0 are kept; one that turns 0 has drifted."""
    assert CourseFate.KEPT == _only([0.0] * 5)
    assert CourseFate.BETTER == _only([0.0] * 4 + [1.0])
    assert CourseFate.DRIFTED == _only([1.0] * 4 + [0.0])


@given(seed=st.integers(0, 2**32), size=st.sampled_from([1e-6, 1e-3, 3e-3, 6e-3]))
@settings(max_examples=60, deadline=None)
def test_noise_of_machines_raises_no_alarm(seed: int, size: float) -> None:
    """Ten runs of twelve layers whose noise is far below the floor."""
    assert 0 == _alarms(size, seed)


def test_false_alarms_of_loud_noise_are_as_rare_as_stated() -> None:
    """Noise of 3 %, above the floor: of 200 histories of 12 layers some 1 % may be red."""
    red = sum(bool(_alarms(0.03, seed)) for seed in range(200))
    assert red <= 200 * FALSE_ALARMS * 3


def test_machines_that_differ_raise_no_alarm() -> None:
    """Ten runs, each on one of three machines, whose numbers differ by 3 %."""
    red = sum(bool(_alarms(0.03, seed, machines=3)) for seed in range(100))
    assert red <= 5


def _alarms(size: float, seed: int, machines: int = 10) -> int:
    """How many numbers of ten runs of 12 layers drifted; runs on one machine have equal numbers."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    made = [_layers(draw, size) for _ in range(machines)]
    runs = made if machines == 10 else [draw.choice(made) for _ in range(10)]
    return sum(fate is CourseFate.DRIFTED for fate in _fates(runs).values())


def _layers(draw: random.Random, size: float) -> dict[str, dict[str, float]]:
    names = ("mean_norm", "margin", "margin_q", "colipschitz_q")
    return {
        f"layer{at:02d}": {name: NUMBERS[name] * (1.0 + draw.gauss(0.0, size)) for name in names}
        for at in range(12)
    }


def test_equal_runs_are_kept(tmp_path: Path) -> None:
    """Deterministic numbers: nothing moves."""
    (findings,) = _read(tmp_path, same).findings
    assert {CourseFate.KEPT} == {one.fate for one in findings.courses}
