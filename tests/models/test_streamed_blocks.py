import gc
from pathlib import Path

import pytest
import torch

from pytest_injectivity.errors import MissingExtra, ModelError, OptionError
from pytest_injectivity.models import placement
from pytest_injectivity.models.block_runs import BlockRuns, verify_block_runs
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.facts import ModelFacts
from pytest_injectivity.models.families import FAMILIES
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.models.placement import Placement
from pytest_injectivity.models.prefix import Prefix
from pytest_injectivity.models.streamed_blocks import StreamedBlocks
from pytest_injectivity.models.weight_digest import WeightDigest
from pytest_injectivity.testing import plant_nan, save_checkpoint, tiny_decoder

pytest.importorskip("accelerate", reason="weights that stay on disk need accelerate")

IDS = torch.randint(64, (3, 12), generator=torch.Generator().manual_seed(0))


def streamed_blocks(decoder: Decoder) -> StreamedBlocks:
    assert decoder.streamed is not None
    return decoder.streamed


@pytest.fixture(scope="module", params=["gpt2", "llama", "mamba"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Decoder]:
    """One checkpoint loaded whole, and with its blocks on disk."""
    folder = save_checkpoint(tiny_decoder(request.param), tmp_path_factory.mktemp("model"))
    return [load_decoder(str(folder), device="cpu", mode=mode) for mode in ("whole", "stream")]


def test_states_have_the_bits_of_a_model_in_memory(both: list[Decoder]) -> None:
    """At every layer; the blocks hold no weights before and after."""
    whole, streamed = (one.states(IDS, (0, *one.layers)) for one in both)
    assert all(torch.equal(whole[layer], streamed[layer]) for layer in whole)
    assert all(one.is_meta for one in both[1].parts.blocks.parameters())


def test_a_pass_reads_the_blocks_that_it_runs(both: list[Decoder]) -> None:
    """Once each; with one block kept, no pass reads any."""
    blocks = streamed_blocks(both[1]).disk
    before = blocks.reads
    both[1].states(IDS, [1])
    one_layer = blocks.reads - before
    runs = BlockRuns(both[1])
    with runs.at(0):
        runs.run(IDS, None)
        runs.run(IDS, None)
    assert (1, 2) == (one_layer, blocks.reads - before)


def test_a_block_is_dropped_where_its_pass_fails(both: list[Decoder]) -> None:
    """Whatever is raised inside it."""
    decoder = both[1]

    def fail(*_: object) -> None:
        raise RuntimeError("planted")

    inner = next(one for one in decoder.parts.blocks[0].modules() if not list(one.children()))
    handle = inner.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="planted"):
        decoder.states(IDS, [2])
    handle.remove()
    assert all(one.is_meta for one in decoder.parts.blocks.parameters())


def test_facts_and_digest_are_those_of_the_weights(both: list[Decoder]) -> None:
    """They are read from disk, a tensor at a time."""
    assert ModelFacts.of(both[0]) == ModelFacts.of(both[1])
    stored = streamed_blocks(both[1]).disk.tensor
    digests = [WeightDigest.of(both[0].model), WeightDigest.of(both[1].model, stored=stored)]
    assert digests[0] == digests[1]


def test_weights_that_are_not_finite_are_found_on_disk(tmp_path: Path) -> None:
    """By name."""
    folder = save_checkpoint(plant_nan(tiny_decoder("llama"), 2), tmp_path)
    facts = ModelFacts.of(load_decoder(str(folder), device="cpu", mode="stream"))
    assert facts.not_finite
    assert all(name.startswith("model.layers.1.") for name in facts.not_finite)


def test_no_float64_copy_is_made_of_it(both: list[Decoder]) -> None:
    """It would hold all weights in memory."""
    with pytest.raises(ModelError, match="its blocks stay on disk"):
        both[1].as_float64()


@pytest.mark.parametrize("family", [family.name for family in FAMILIES])
def test_blocks_run_one_after_the_other_give_the_bits_of_a_whole_pass(family: str) -> None:
    """With and without a beginning that all rows continue."""
    decoder = tiny_decoder(family)
    layers = (0, *decoder.layers)
    whole = decoder.states(IDS, layers)
    cached = decoder.family.prefix != "recompute"
    start, rest = IDS[0, :8], IDS[:, 8:] if cached else IDS
    behind = decoder.states(rest, layers, prefix=decoder.prefix(start, "norm") if cached else None)
    runs, same = BlockRuns(decoder), []
    states: dict[str, torch.Tensor | None] = dict.fromkeys(("plain", "start", "rest"))
    for step in runs.steps:
        with runs.at(step):
            plain = runs.run(IDS, states["plain"])
            after, prefix = runs.prefix(start, states["start"]) if cached else (None, None)
            cache = prefix.broadcast(len(rest)) if isinstance(prefix, Prefix) else None
            continued = runs.run(rest, states["rest"], cache)
        same += [torch.equal(plain[layer], whole[layer]) for layer in plain]
        same += [torch.equal(continued[layer], behind[layer]) for layer in continued]
        last = list(plain)[-1]
        states = {"plain": plain[last], "start": after, "rest": continued[last]}
    assert [True] * 2 * len(layers) == same


def test_a_model_whose_blocks_pass_on_more_is_refused() -> None:
    """As one whose third block reads what the second one got."""
    decoder = tiny_decoder("llama", layers=3)
    _, second, third = decoder.parts.blocks
    kept: list[torch.Tensor] = []
    second.register_forward_pre_hook(lambda _block, args: kept.append(args[0]))
    third.register_forward_hook(lambda _block, _args, output: output + kept[-1])
    with pytest.raises(ModelError, match="pass on more than hidden states"):
        verify_block_runs(decoder, IDS)


class TestPlacement:
    """What a mode of loading stands for."""

    def test_automatically_whole_where_the_weights_fit(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By the numbers that the configuration describes, in the dtype that is asked for."""
        described = tiny_decoder("llama").model
        needed = 2 * sum(one.numel() for one in described.parameters())
        found = []
        for free in (needed, needed - 1):
            monkeypatch.setattr(placement, "free_memory", lambda _device, free=free: free)
            found.append(self._placed("auto", torch.bfloat16, "").streamed)
        assert [False, True] == found

    def test_automatically_whole_where_blocks_cannot_stay_on_disk(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Memory may then run out, which the system says."""
        monkeypatch.setattr(placement, "free_memory", lambda _device: 0)
        assert not self._placed("auto", "auto", "they are packed").streamed

    def test_streaming_what_cannot_be_streamed_is_wrong_use(self) -> None:
        """The message says why."""
        with pytest.raises(OptionError, match="load stream is not accepted here: they are packed"):
            self._placed("stream", "auto", "they are packed")

    def test_another_mode_is_wrong_use(self) -> None:
        """The message lists those accepted."""
        with pytest.raises(
            OptionError, match="load 'half' is not accepted: give one of auto, whole"
        ):
            self._placed("half", "auto", "")

    def test_a_missing_library_is_named_with_its_extra(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Before anything is loaded."""
        monkeypatch.setattr(placement, "installed_version", lambda _name: None)
        placed = self._placed("stream", "auto", "")
        with (
            pytest.raises(MissingExtra, match=r"pytest-injectivity\[stream\]"),
            placed.asked("mine", tiny_decoder("llama").model),
        ):
            pass

    def _placed(self, mode: str, dtype: str | torch.dtype, why_not: str) -> Placement:
        described = tiny_decoder("llama").model
        return Placement.of(mode, torch.device("cpu"), described, dtype, why_not)


def test_float64_and_packed_weights_are_not_streamed(tmp_path: Path) -> None:
    """Both need all weights in memory."""
    folder = save_checkpoint(tiny_decoder("llama"), tmp_path)
    with pytest.raises(OptionError, match="float64 needs all weights in memory"):
        load_decoder(str(folder), device="cpu", dtype="float64", mode="stream")


def test_the_folder_of_a_checkpoint_that_is_refused_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor that of a model that is let go."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(placement.tempfile, "tempdir", str(temporary))
    folder = save_checkpoint(tiny_decoder("llama"), tmp_path / "model")
    decoder = load_decoder(str(folder), device="cpu", mode="stream")
    there = list(temporary.iterdir())
    del decoder
    gc.collect()
    assert 1 == len(there)
    assert [] == list(temporary.iterdir())
