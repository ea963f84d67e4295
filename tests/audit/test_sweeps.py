"""Curves over lengths and models: one N, the same prompts, one model at a time."""

import json
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Split
from transformers import PreTrainedTokenizerFast

from pytest_injectivity import (
    Audit,
    AuditConfig,
    OptionError,
    compare_models,
    sweep_bits,
    sweep_lengths,
)
from pytest_injectivity.audit import sweeps as sweeps_module
from pytest_injectivity.models import loading
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.results.sweeps import (
    first_collisions,
    smallest_distances,
    table_layers,
    write_figure,
)
from pytest_injectivity.testing import byte_tokenizer, save_checkpoint, tiny_decoder
from tests import brute_force
from tests.audits import small_samples

# Of 4, 8 and 16 bytes and more: 7 windows of 4, 3 of 8, 2 of 16, all distinct.
TEXTS = ["abcdefghijklmnopqr", "one two", "thrée", "0123456789ABCDEFG", "thre"]
Config = Callable[..., AuditConfig]


class _Ear:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.labels: list[str] = []

    def announce(self, sentence: str) -> None:
        self.said.append(sentence)

    def foretell(self, sentence: str) -> None:
        self.said.append(sentence)

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[int], None]]:  # noqa: ARG002
        self.labels.append(label)
        yield lambda _done: None


def _ascii() -> Any:
    """One token a character; what is not ASCII is dropped."""
    tokenizer = Tokenizer(BPE({chr(code): code for code in range(128)}, []))
    tokenizer.pre_tokenizer = Split(Regex(r"[\s\S]"), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The config of a tiny model by its seed, on texts of one's own."""
    small_samples(monkeypatch)

    def made(
        seed: int = 0, texts: Sequence[Any] = TEXTS, tokenizer: Any = None, **given: Any
    ) -> AuditConfig:
        folder = tmp_path / f"model{seed}"
        if not folder.exists():
            decoder = tiny_decoder("gpt2", seed=seed, vocab=257, layers=2 + seed)
            save_checkpoint(decoder, folder, tokenizer or byte_tokenizer())
        prompts = tmp_path / f"{len(texts)}.jsonl"
        rows = [{"ids" if isinstance(one, list) else "text": one} for one in texts]
        prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
        asked = {"device": "cpu", "no_cache": True, **given}
        return AuditConfig(model=str(folder), prompts=str(prompts), **asked)

    return made


def _loads(monkeypatch: pytest.MonkeyPatch, told: Callable[[Decoder], None]) -> None:
    run = loading.load

    def load(*args: Any, **kwargs: Any) -> Decoder:
        decoder = run(*args, **kwargs)
        told(decoder)
        return decoder

    monkeypatch.setattr(loading, "load", load)


def test_points_are_those_of_brute_force(config: Config) -> None:
    """Every number of every layer and length, from the states alone."""
    asked = config(max_prompts=3)
    points = sweep_lengths(asked, [4, 8])
    assert [(4, "layer01"), (4, "layer02"), (4, "norm")] == [
        (point.length, point.layer) for point in points[:3]
    ]
    for length, part in ((4, points[:3]), (8, points[3:])):
        audit = Audit(AuditConfig(**{**vars(asked), "length": length}))
        ids = audit.prompts.ids
        for point, layer in zip(part, (1, 2, "norm"), strict=True):
            rows = audit.states(layer)
            nearest, _ = brute_force.nearest(rows)
            ratios, _ = brute_force.ratios(rows, ids, "levenshtein").smallest()
            mean = float(brute_force.norms(rows).mean())
            assert (3, 0, 0) == (point.n, point.collisions, point.not_finite)
            assert (length, audit.prompts.hash) == (point.longest, point.prompt_hash)
            assert float(nearest.min()) == pytest.approx(point.margin, rel=1e-12)
            assert float(ratios.min()) == pytest.approx(point.colipschitz, rel=1e-12)
            assert mean == pytest.approx(point.mean_norm, rel=1e-12)
            assert float(nearest.min()) / mean == pytest.approx(point.normalized_margin, rel=1e-12)
            assert point.resolution == audit.resolution(layer).value


def test_every_length_has_the_smallest_sets_number(config: Config) -> None:
    """Of shorter windows those of smallest hash, and the watcher is told."""
    ear = _Ear()
    asked = config(layers="1")
    points = sweep_lengths(asked, [4, 8, 16], watcher=ear)
    (said,) = ear.said
    sets = [Audit(AuditConfig(**{**vars(asked), "length": t})).prompts for t in (4, 8, 16)]
    sizes = [len(one) for one in sets]
    assert sizes[0] > sizes[1] > sizes[2] == 2
    assert f"of {', '.join(map(str, sizes))} prompts 2 each" in said
    assert [one.subset(2).hash for one in sets] == [point.prompt_hash for point in points]
    assert {2} == {point.n for point in points}


def test_the_order_of_prompts_does_not_matter(config: Config) -> None:
    """The same windows, and the same numbers to the last bit."""
    one = sweep_lengths(config(layers="norm"), [4, 8])
    other = sweep_lengths(config(texts=TEXTS[::-1], layers="norm"), [4, 8])
    assert 2 == len(one)
    for left, right in zip(one, other, strict=True):
        assert left.prompt_hash == right.prompt_hash
        assert (left.margin, left.colipschitz, left.mean_norm) == (
            right.margin,
            right.colipschitz,
            right.mean_norm,
        )


def test_one_model_serves_all_lengths(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is loaded once."""
    loaded: list[Decoder] = []
    _loads(monkeypatch, loaded.append)
    sweep_lengths(config(layers="1"), [4, 8])
    assert 1 == len(loaded)


def test_a_model_is_let_go_before_the_next_is_loaded(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is that of one model, however many stand side by side."""
    alive: list[weakref.ref[Decoder]] = []

    def told(decoder: Decoder) -> None:
        assert not any(one() for one in alive)
        alive.append(weakref.ref(decoder))

    _loads(monkeypatch, told)
    compare_models([config(seed, layers="1") for seed in range(3)])
    assert len(alive) >= 3


def test_models_stand_on_the_same_texts(config: Config) -> None:
    """A tokenizer that cannot tell two texts apart takes one of them from every model."""
    ear = _Ear()
    models = [config(0), config(1, tokenizer=_ascii())]
    points = compare_models(models, watcher=ear)
    kept = [text for text in TEXTS if text != "thre"]
    expected = [
        Audit(AuditConfig(**{**vars(one), "prompts": config(texts=kept).prompts})).prompts.hash
        for one in models
    ]
    assert expected == list(dict.fromkeys(point.prompt_hash for point in points))
    assert {4} == {point.n for point in points}
    assert any("of 5, 4 prompts 4 each, the same texts" in said for said in ear.said)


@pytest.mark.slow
def test_a_sample_of_several_models_is_of_texts(config: Config) -> None:
    """Tokenizers give a text different ids and hashes; the sample is the same texts all the same."""
    texts = [f"{at * at} is {at} squared" for at in range(20)]
    with_bos = byte_tokenizer(bos=True)
    models = [config(0, texts, max_prompts=6), config(1, texts, with_bos, max_prompts=6)]
    chosen = sweeps_module._same_texts(
        [Audit(sweeps_module._all_prompts(one)).prompts for one in models], 6, _Ear()
    )
    assert 6 == len(chosen[0])
    assert chosen[0].texts == chosen[1].texts
    points = compare_models(models)
    assert {6} == {point.n for point in points}
    assert [one.hash for one in chosen] == list(dict.fromkeys(p.prompt_hash for p in points))


def test_rows_of_ids_are_of_one_number(config: Config) -> None:
    """They have no texts; every model gets the same rows, which have the same hash."""
    ids = [[at, 2 * at, 7] for at in range(9)]
    points = compare_models([config(0, ids, max_prompts=5), config(1, ids, max_prompts=5)])
    assert {5} == {point.n for point in points}
    assert 1 == len({point.prompt_hash for point in points})


def test_what_is_not_comparable_is_refused(config: Config) -> None:
    """Other prompts, another metric, another sample; nothing, and the same twice."""
    one = config(0)
    for change in ({"prompts": "builtin:stdlib"}, {"prompt_metric": "hamming"}, {"max_prompts": 3}):
        other = AuditConfig(**{**vars(config(1)), **change})
        with pytest.raises(OptionError, match=rf"the configs have {next(iter(change))} "):
            compare_models([one, other])
    with pytest.raises(OptionError, match="no config is given"):
        compare_models([])
    with pytest.raises(OptionError, match="given twice"):
        compare_models([one, one])
    with pytest.raises(OptionError, match="no length is given"):
        sweep_lengths(one, [])
    with pytest.raises(OptionError, match="a length is given twice in 4, 8, 4"):
        sweep_lengths(one, [4, 8, 4])
    with pytest.raises(OptionError, match="integer of at least 1"):
        sweep_lengths(one, [0])


@pytest.mark.slow
def test_progress_says_which_part_it_is_of(config: Config) -> None:
    """The bar of a length, and of a model by its name."""
    ear = _Ear()
    sweep_lengths(config(layers="1"), [4, 8], watcher=ear)
    assert "length 8 (2 of 2): hidden states" in ear.labels
    compare_models([config(0, layers="1"), config(1, layers="1")], watcher=ear)
    assert "model1 (2 of 2): hidden states" in ear.labels


def test_the_table_has_the_smallest_distances(config: Config) -> None:
    """At layers 1, L/2 and L of each model ([N] table 1); None where it was not measured."""
    models = [config(0), config(2)]
    found = smallest_distances(compare_models(models))
    for one, layers in zip(models, ((1, 1, 2), (1, 2, 4)), strict=True):
        audit = Audit(one)
        assert layers == table_layers(audit.n_layers)
        expected = [float(brute_force.nearest(audit.states(layer))[0].min()) for layer in layers]
        assert expected == pytest.approx(found[one.model], rel=1e-12)
    few = compare_models([config(0, layers="2")])
    assert (None, None) == next(iter(smallest_distances(few).values()))[:2]


def test_normalized_values_stand_beside_the_raw_ones(config: Config, tmp_path: Path) -> None:
    """In the JSON too."""
    points = sweep_lengths(config(), [8])
    write_figure(tmp_path / "new" / "figure.json", "by length", points=points, note="x")
    written = json.loads((tmp_path / "new" / "figure.json").read_text())
    assert (1, "by length", "x") == (written["schema"], written["figure"], written["note"])
    for plain, point in zip(written["points"], points, strict=True):
        assert plain["margin_q"] == point.margin_q
        assert plain["normalized_margin_q"] == plain["margin_q"] / plain["mean_norm"]
        assert plain["normalized_colipschitz"] == plain["colipschitz"] / plain["mean_norm"]


def test_figure_data_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """What JSON does not have leaves the file before it as it was."""
    path = tmp_path / "figure.json"
    write_figure(path, "good", values=[1.0])
    before = path.read_text()
    with pytest.raises(TypeError, match="Decoder"):
        write_figure(path, "bad", values=[tiny_decoder()])
    assert before == path.read_text()
    assert ["figure.json"] == [one.name for one in tmp_path.iterdir()]


def _codes(rows: Any, bits: int) -> list[tuple[int, ...]]:
    """Integer codes of every row, written from SPEC section 2 alone."""
    wide = rows.double().numpy()
    step = np.abs(wide).max() / (2 ** (bits - 1) - 1)
    return [tuple(int(code) for code in row) for row in np.rint(wide / step)]


def _equal_pairs(rows: Sequence[object]) -> int:
    return sum(rows[i] == rows[j] for i, j in brute_force.pairs(len(rows)))


# Rows that differ in their first tokens come close, and few bits make them one.
_CLOSE = [[at % 60, at // 60, 3, 3, 3, 3] for at in range(90)]


def test_collisions_of_a_sweep_over_bits_are_those_of_brute_force(config: Config) -> None:
    """Of integer codes; the first number of bits with any, and fractions of pairs, by layer."""
    asked = config(texts=_CLOSE)
    points = sweep_bits(asked, range(8, 1, -1))
    audit = Audit(asked)
    assert [None] * 3 + [8] * 3 + [7] * 3 == [point.bits for point in points[:9]]
    expected: dict[str, int | None] = {}
    counts = []
    for point, layer in zip(points, (1, 2, "norm") * 8, strict=True):
        rows = audit.states(layer)
        codes = rows.tolist() if point.bits is None else _codes(rows, int(point.bits))
        counts.append(_equal_pairs(codes))
        assert counts[-1] == point.collisions
        if point.bits is not None:
            expected.setdefault(point.layer, None)
            if counts[-1] and expected[point.layer] is None:
                expected[point.layer] = int(point.bits)
    assert 0 == sum(counts[:6])
    assert all(counts[-3:])
    assert expected == first_collisions(points)


def test_rounded_points_are_measured_on_the_rounded_states(config: Config) -> None:
    """Norm, margin, co-Lipschitz constant and fractions of near pairs, from the codes alone."""
    asked = config(texts=_CLOSE[:30], layers="norm")
    full, rounded = sweep_bits(asked, [3])
    audit = Audit(asked)
    rows = audit.states("norm")
    step = rows.double().abs().max() / 3
    values = torch.tensor(_codes(rows, 3), dtype=torch.float64) * step
    for point, states in ((full, rows), (rounded, values)):
        nearest, _ = brute_force.nearest(states)
        ratios, _ = brute_force.ratios(states, audit.prompts.ids, "levenshtein").smallest()
        mean = float(brute_force.norms(states).mean())
        assert mean == pytest.approx(point.mean_norm, rel=1e-12)
        assert float(nearest.min()) == pytest.approx(point.margin, rel=1e-12)
        assert float(ratios.min()) == pytest.approx(point.colipschitz, rel=1e-12)
        pairs = len(states) * (len(states) - 1) / 2
        for eps, fraction in point.near_fractions.items():
            assert len(brute_force.near(states, float(eps))) / pairs == fraction
    assert rounded.resolution is None
    assert full.resolution == audit.resolution("norm").value


def test_grids_of_a_sweep_are_refused_like_any(config: Config) -> None:
    """None, a number twice under two names, and what is no grid."""
    with pytest.raises(OptionError, match="no grid is given"):
        sweep_bits(config(), [])
    with pytest.raises(OptionError, match="a grid is given twice in 4, 4"):
        sweep_bits(config(), [4, "4 symmetric"])
    with pytest.raises(OptionError, match="bits=1"):
        sweep_bits(config(), [1])


def test_first_collisions_are_told_by_the_number_of_bits(config: Config) -> None:
    """Whatever the order of the points; none where no grid has any."""
    (point,) = sweep_bits(config(layers="1"), ["4 asymmetric"])[1:]
    made = [
        replace(point, bits=bits).with_numbers(collisions=count)
        for bits, count in ((2, 9), ("4 asymmetric", 1), (3, 2), (8, 0))
    ]
    assert {"layer01": "4 asymmetric"} == first_collisions(made)
    assert {"layer01": None} == first_collisions([made[-1]])


def test_the_finest_of_eight_bits_collides_first(config: Config) -> None:
    """In any order of the points: e5m2 is coarser than e4m3, and that than 8 bits."""
    (point,) = sweep_bits(config(layers="1"), ["8"])[1:]
    points = [
        replace(point, bits=bits).with_numbers(collisions=1) for bits in ("e5m2", "e4m3", 8, 4)
    ]
    orders = [tuple(one) for one in permutations(points)]
    floats = [tuple(one for one in order if one.bits != 8) for order in orders]
    assert {8} == {first_collisions(one)["layer01"] for one in orders}
    assert {"e4m3"} == {first_collisions(one)["layer01"] for one in floats}
