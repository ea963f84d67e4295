import gc
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pytest_injectivity.errors import MissingExtra, ModelError, OptionError
from pytest_injectivity.models import agreement, placement
from pytest_injectivity.models.block_proof import verify_block_runs
from pytest_injectivity.models.block_runs import BlockRuns
from pytest_injectivity.models.candidate_passes import CandidateLimits
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.facts import ModelFacts
from pytest_injectivity.models.families import FAMILIES
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.models.placement import Placement
from pytest_injectivity.models.prefix import Prefix
from pytest_injectivity.models.streamed_blocks import StreamedBlocks
from pytest_injectivity.models.weight_digest import WeightDigest
from pytest_injectivity.models.weight_files import WEIGHTS
from pytest_injectivity.testing import plant_nan, save_checkpoint, tiny_decoder
from tests.repetitions import SOME_FAMILIES, mostly_slow

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


@pytest.mark.parametrize(
    "family", mostly_slow([family.name for family in FAMILIES], *SOME_FAMILIES)
)
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


def test_blocks_that_read_a_further_tensor_are_refused() -> None:
    """As those of a model that hands on what its routers saw: it is another one for every batch."""
    decoder = tiny_decoder("gpt_neo")
    first, second = decoder.parts.blocks[:2]
    seen: list[torch.Tensor] = []

    def hand_on(_block: object, _args: object, output: tuple[torch.Tensor, ...]) -> object:
        seen.append(output[0] * 2)
        return (output[0], seen[-1])

    first.register_forward_hook(hand_on)
    plain = decoder.parts.base.forward

    def forward(*args: object, **kwargs: object) -> object:
        seen.clear()
        return plain(*args, **kwargs)

    decoder.parts.base.forward = forward
    second.register_forward_hook(lambda _block, _args, out: (out[0] + sum(seen), *out[1:]))
    with pytest.raises(ModelError, match="pass on more than hidden states"):
        verify_block_runs(decoder, IDS)


def test_files_that_change_are_an_error(tmp_path: Path) -> None:
    """Between two reads, and where they are gone; the message names checkpoint, block and file."""
    folder = save_checkpoint(tiny_decoder("llama"), tmp_path)
    decoder = load_decoder(str(folder), device="cpu", mode="stream")
    tensors = load_file(folder / WEIGHTS)
    save_file({name: one + 1 for name, one in tensors.items()}, folder / WEIGHTS)
    os.utime(folder / WEIGHTS, ns=(1, 1))
    with pytest.raises(ModelError, match=r"model.safetensors was changed while it was read"):
        decoder.states(IDS, [1])
    (folder / WEIGHTS).unlink()
    with pytest.raises(ModelError, match=r"block 1 cannot be read from disk: .*No such file"):
        decoder.states(IDS, [1])


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
        return Placement.of(mode, (torch.device("cpu"),), described, dtype, why_not)


def test_float64_is_not_streamed(tmp_path: Path) -> None:
    """It needs all weights in memory."""
    folder = save_checkpoint(tiny_decoder("llama"), tmp_path)
    with pytest.raises(OptionError, match="float64 needs all weights in memory"):
        load_decoder(str(folder), device="cpu", dtype="float64", mode="stream")


def test_gradients_are_refused(both: list[Decoder]) -> None:
    """They would keep the weights of all blocks in memory."""
    rows = torch.zeros(1, 4, both[1].hidden_size, requires_grad=True)
    with pytest.raises(ModelError, match="gradients keep the weights of all blocks in memory"):
        both[1].states_from_embeddings(rows, [1])
    assert torch.equal(*(one.states_from_embeddings(rows.detach(), [1])[1] for one in both))


def test_a_model_is_proved_each_way_that_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks on disk are run one after the other, whether the model was in memory before or not."""
    folder = save_checkpoint(tiny_decoder("llama", intermediate_size=48), tmp_path)
    proved: list[Decoder] = []
    monkeypatch.setattr(agreement, "verify_block_runs", lambda one, _ids: proved.append(one))
    for mode in ("whole", "stream", "stream"):
        load_decoder(str(folder), device="cpu", mode=mode)
    assert 1 == len(proved)


def test_no_folder_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a checkpoint that is refused, nor of a model that is let go."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(placement.tempfile, "tempdir", str(temporary))
    folder = save_checkpoint(tiny_decoder("llama"), tmp_path / "model")
    decoder = load_decoder(str(folder), device="cpu", mode="stream")
    there = len(list(temporary.iterdir()))
    del decoder
    gc.collect()
    tensors = load_file(folder / WEIGHTS)
    save_file({**tensors, "model.surplus": torch.zeros(1)}, folder / WEIGHTS)
    with pytest.raises(ModelError, match="no parameter of the model takes"):
        load_decoder(str(folder), device="cpu", mode="stream")
    assert 1 == there
    assert [] == list(temporary.iterdir())


@pytest.mark.parametrize("family", ["gpt2", "gpt_neo", "mamba"])
@pytest.mark.parametrize("prefix", [(), (5, 6, 7)])
def test_candidates_of_several_passes_share_the_blocks(
    family: str, prefix: tuple[int, ...], tmp_path: Path
) -> None:
    """Side by side (gpt2), a row each (gpt_neo), and behind tokens that are run again (mamba)."""
    folder = save_checkpoint(tiny_decoder(family), tmp_path)
    both = [load_decoder(str(folder), device="cpu", mode=mode) for mode in ("whole", "stream")]
    limits = CandidateLimits(rows=8, side_by_side=4, side_rows=2)
    layers = (0, *both[0].layers)
    found = []
    for decoder in both:
        decoder.limits = limits
        before = decoder.prefix(torch.tensor(prefix, dtype=torch.long), "norm") if prefix else None
        reads = 0 if decoder.streamed is None else decoder.streamed.disk.reads
        found.append(decoder.candidates(before, torch.arange(40), layers))
    assert both[1].n_layers == streamed_blocks(both[1]).disk.reads - reads
    assert all(torch.equal(found[0][layer], found[1][layer]) for layer in layers)


def test_a_candidate_that_is_not_finite_stays_alone(tmp_path: Path) -> None:
    """As in a model in memory: those beside it are run again, a row each."""
    decoder = tiny_decoder("gpt2")
    decoder.parts.embeddings.weight[3] = torch.nan
    streamed = load_decoder(str(save_checkpoint(decoder, tmp_path)), device="cpu", mode="stream")
    found = []
    for one in (decoder, streamed):
        one.limits = CandidateLimits(rows=8, side_by_side=4, side_rows=2)
        before = one.prefix(torch.tensor([5, 6]), 2)
        found.append(one.candidates(before, torch.arange(40), [2])[2])
    assert [3] == found[1].isfinite().all(dim=1).logical_not().nonzero()[:, 0].tolist()
    assert torch.equal(*(one.nan_to_num() for one in found))
