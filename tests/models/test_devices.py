"""One model on several devices: which it goes to, and whether what is copied between them arrives."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pytest_injectivity.errors import ModelError, OptionError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.devices import resolve_devices, verify_copies
from pytest_injectivity.models.families import TABLE
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.models.placement import Placement, shares
from pytest_injectivity.models.resume import logits_from_states
from pytest_injectivity.reference.blame.exchange import NotExchanged, exchanged
from pytest_injectivity.reference.parts import parts_of
from pytest_injectivity.testing import save_checkpoint, tiny_decoder

CPU = torch.device("cpu")
IDS = torch.randint(64, (3, 12), generator=torch.Generator().manual_seed(0))


def _gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_gpus_share_no_model(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how many there are, and what is accepted."""
    _gpus(monkeypatch, count)
    with pytest.raises(
        OptionError, match=f"device balanced .* this machine has {count}: give auto"
    ):
        resolve_devices("balanced")


def test_balanced_is_every_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is where tokens go in."""
    _gpus(monkeypatch, 3)
    assert ["cuda:0", "cuda:1", "cuda:2"] == [str(one) for one in resolve_devices("balanced")]


def test_a_copy_that_leaves_zeros_is_refused() -> None:
    """The message names both devices, and how many numbers are wrong."""
    wrong = r"of 1048576 numbers copied from cpu to cpu:0, 1048576 arrived as others"
    with pytest.raises(ModelError, match=f"^some/model: {wrong}.*give --injx-device=cpu, or"):
        verify_copies("some/model", [CPU, torch.device("cpu:0")], lambda one, _: one * 0)


def test_a_copy_of_which_one_number_is_lost_is_refused() -> None:
    """Only in one of the two directions."""

    def lossy(one: Tensor, device: torch.device) -> Tensor:
        arrived = one.clone()
        arrived[7] += device.index is None
        return arrived

    with pytest.raises(ModelError, match="copied from cpu:0 to cpu, 1 arrived"):
        verify_copies("some/model", [CPU, torch.device("cpu:0")], lossy)


def test_a_copy_that_leaves_what_was_there_before_is_refused() -> None:
    """The memory of an earlier copy, which an allocator gives again."""
    arrived: list[Tensor] = []

    def stale(one: Tensor, _device: torch.device) -> Tensor:
        arrived.append(one.clone())
        return arrived[0]

    with pytest.raises(ModelError, match=r"copied from cpu:0 to cpu, 10485[67]"):
        verify_copies("some/model", [CPU, torch.device("cpu:0")], stale)


def test_every_device_is_copied_to_every_other() -> None:
    """What arrives is accepted."""
    devices, copied = [CPU, torch.device("cpu:0"), torch.device("cpu", 0)], []

    def copy(one: Tensor, device: torch.device) -> Tensor:
        copied.append(str(device))
        return one.clone()

    verify_copies("some/model", devices, copy)
    assert ["cpu:0", "cpu:0", "cpu", "cpu"] == copied


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("outside", [0, 10, 35])
def test_devices_have_about_as_many_weights_each(count: int, outside: int) -> None:
    """Consecutive blocks, none more than one block beyond an even share."""
    sizes = [7] * 16
    found = shares(sizes, outside, count)
    held = [7 * found.count(one) + outside * (one == 0) for one in range(count)]
    assert sorted(found) == found
    assert max(held) <= max(outside, (sum(sizes) + outside) / count) + 7


def _places(family: str) -> dict[str, str]:
    """Where the parts of a tiny model of four blocks go among two GPUs."""
    described = tiny_decoder(family, layers=4).model
    placement = Placement((torch.device("cuda:0"), torch.device("cuda:1")))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pytest_injectivity.models.placement.verify_copies", lambda *_: None)
        with placement.asked("some/model", described) as asked:
            return dict(asked["device_map"])


@pytest.mark.parametrize("family", TABLE)
def test_blocks_are_shared_and_all_else_is_on_the_first_device(family: str) -> None:
    """Embeddings, the last norm and the head, so that states and logits come back there."""
    pytest.importorskip("accelerate", reason="a model on several devices needs accelerate")
    decoder, places = tiny_decoder(family, layers=4), _places(family)
    blocks = {
        name: places.pop(name)
        for name, one in decoder.model.named_modules()
        if one in set(decoder.parts.blocks)
    }
    assert {"cuda:0"} == set(places.values())
    assert ["cuda:0", "cuda:1"] == list(dict.fromkeys(blocks.values()))
    assert sorted(blocks.values()) == list(blocks.values())


def test_streaming_takes_one_device() -> None:
    """The message says what to give instead."""
    described = tiny_decoder("llama").model
    with pytest.raises(OptionError, match=r"load stream .* give one instead of balanced"):
        Placement.of("stream", (CPU, CPU), described, torch.float32, "")


def test_a_part_on_another_device_than_asked_is_refused() -> None:
    """As an older library might put it, or offload it."""
    model = tiny_decoder("llama").model
    placement, asked = Placement((CPU, torch.device("meta"))), {"device_map": {"model": "meta"}}
    with pytest.raises(
        ModelError, match=r"some/model: the library put model\.\S+ on cpu, not on meta"
    ):
        placement.settle("some/model", model, asked)


def test_parts_of_a_shared_model_are_not_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which flag accepts it."""
    child, parent = tiny_decoder("llama"), tiny_decoder("llama", seed=1)
    monkeypatch.setattr(type(child), "shared", value=True)
    with (
        pytest.raises(NotExchanged, match=r"several devices share its blocks .*--injx-device=cuda"),
        exchanged(child, parent, parts_of(parent)[:1]),
    ):
        pass


@pytest.fixture(scope="module", params=["gpt2", "llama", "mamba"])
def hooked(request: pytest.FixtureRequest) -> tuple[Decoder, Decoder]:
    """A model, and the same with the hooks that bring blocks their inputs, all on the CPU."""
    accelerate = pytest.importorskip("accelerate", reason="hooks between devices are accelerate's")
    plain, moved = tiny_decoder(request.param), tiny_decoder(request.param)
    with Placement((CPU, CPU)).asked("some/model", moved.model) as asked:
        places = asked["device_map"]
    accelerate.dispatch_model(moved.model, places, main_device="cpu", force_hooks=True)
    assert all(hasattr(one, "_hf_hook") for one in moved.parts.blocks)
    return plain, moved


def test_states_behind_hooks_are_the_models_own(hooked: tuple[Decoder, Decoder]) -> None:
    """At every layer, from the beginning and behind a cached prefix."""
    layers = (0, *hooked[0].layers)
    whole, own = (one.states(IDS, layers) for one in hooked)
    behind = [
        one.states(IDS[:, 5:], layers, prefix=one.prefix(IDS[0, :5], "norm")) for one in hooked
    ]
    assert all(whole[layer].equal(own[layer]) for layer in layers)
    assert all(behind[0][layer].equal(behind[1][layer]) for layer in layers)


def test_states_are_replaced_behind_hooks(hooked: tuple[Decoder, Decoder]) -> None:
    """The pass goes on from what is given."""
    given = torch.randn(1, 12, hooked[0].hidden_size, generator=torch.Generator().manual_seed(1))
    plain, own = (logits_from_states(one, IDS[0], 1, given) for one in hooked)
    assert plain.equal(own)


def test_a_float64_copy_has_hooks_of_its_own(hooked: tuple[Decoder, Decoder]) -> None:
    """It computes with its own weights, not with those it was copied from."""
    plain, own = (one.as_float64() for one in hooked)
    assert plain.states(IDS, ["norm"])["norm"].equal(own.states(IDS, ["norm"])["norm"])
    assert torch.float64 == own.dtype


@pytest.mark.gpu
@pytest.mark.parametrize("family", TABLE)
def test_several_gpus_give_the_states_of_one(family: str, tmp_path: Path) -> None:
    """To the last bit, at every layer and behind a cached prefix; all come back to the first."""
    if torch.cuda.device_count() < 2:
        pytest.skip("one model on several GPUs needs two")
    folder = str(save_checkpoint(tiny_decoder(family, layers=4), tmp_path))
    one, both = (load_decoder(folder, device=device) for device in ("cuda:0", "balanced"))
    layers = (0, *one.layers)
    found = [
        (
            each.states(IDS, layers),
            each.states(IDS[:, 5:], layers, prefix=each.prefix(IDS[0, :5], "norm")),
        )
        for each in (one, both)
    ]
    assert both.shared
    assert not one.shared
    assert all(
        ours[layer].equal(theirs[layer])
        for ours, theirs in zip(*found, strict=True)
        for layer in layers
    )
