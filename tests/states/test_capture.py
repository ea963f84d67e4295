"""Capture: each prompt's last-token rows, whatever it is computed beside, and when memory ends."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pytest_injectivity.core.layers import Layer
from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.capture import BATCH_TOKENS, CapturedStates, capture
from pytest_injectivity.testing import plant_equal_embeddings, plant_nan, tiny_decoder

FAMILIES = ("gpt2", "opt", "llama", "gemma3_text", "falcon", "mamba")
LAYERS: tuple[Layer, ...] = (0, 1, 2, "norm")
CUDA_SAYS = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
MPS_SAYS = RuntimeError("MPS backend out of memory (MPS allocated: 9.07 GB)")


def linux_says() -> RuntimeError:
    """What torch's CPU allocator raises on this machine."""
    try:
        torch.empty(2**60, dtype=torch.uint8)
    except RuntimeError as error:
        return error
    raise AssertionError("2^60 bytes were allocated")


def some_prompts(n: int = 30, longest: int = 60, vocab: int = 64, seed: int = 0) -> list[list[int]]:
    """Random prompts, and a third of them behind a common beginning of 40 tokens."""
    generator = torch.Generator().manual_seed(seed)

    def draw(least: int, most: int) -> list[int]:
        length = int(torch.randint(least, most + 1, (1,), generator=generator))
        return torch.randint(0, vocab, (length,), generator=generator).tolist()

    beginning = draw(40, 40)
    return [
        [*beginning, *draw(1, longest - 40)] if at % 3 == 0 else draw(1, longest) for at in range(n)
    ]


capture_sharing = partial(capture, least_saving=32)
"""A few prompts behind a short prefix are worth a pass of their own."""


def not_finite(found: CapturedStates, layer: Layer) -> list[int]:
    """The prompts whose row has a NaN or an infinity at a layer."""
    return (~found.rows[layer].isfinite().all(dim=1)).nonzero().flatten().tolist()


def alone(decoder: Decoder, prompt: Sequence[int], layers: Sequence[Layer]) -> dict[Layer, Tensor]:
    """The last-token states of one unpadded prompt."""
    states = decoder.states(torch.tensor([list(prompt)]), layers)
    return {layer: states[layer][0, -1] for layer in layers}


def assert_captured(
    decoder: Decoder, prompts: Sequence[Sequence[int]], found: CapturedStates, tolerance: float
) -> None:
    """Every row is the prompt's own, to rounding."""
    assert {len(prompts)} == {len(rows) for rows in found.rows.values()}
    for row, prompt in enumerate(prompts):
        for layer, expected in alone(decoder, prompt, tuple(found.rows)).items():
            difference = (found.rows[layer][row].double() - expected.double()).norm()
            assert float(difference) <= tolerance * float(expected.double().norm())


class Memory:
    """Stands before a decoder's passes: counts them, and fails those above a number of tokens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, decoder: Decoder, error: Exception) -> None:
        self.error = error
        self.limit = 10**9
        self.refused: list[tuple[int, int]] = []
        self.passes: list[tuple[int, int]] = []
        for name in ("states", "prefix"):
            monkeypatch.setattr(decoder, name, self._before(getattr(decoder, name)))

    def _before(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def run_within(ids: Tensor, *args: Any, **kwargs: Any) -> Any:
            prefix = kwargs.get("prefix")
            shape = (1 if ids.ndim == 1 else len(ids), ids.shape[-1] + len(prefix or ()))
            if shape[0] * shape[1] > self.limit:
                self.refused.append(shape)
                raise self.error
            self.passes.append(shape)
            return run(ids, *args, **kwargs)

        return run_within


@pytest.mark.parametrize("share_prefixes", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_are_those_of_each_prompt_alone(family: str, *, share_prefixes: bool) -> None:
    """At every layer, with beginnings shared and not, in several passes."""
    decoder, prompts = tiny_decoder(family), some_prompts(12)
    layers = LAYERS[1:] if family == "mamba" else LAYERS
    found = capture_sharing(
        decoder, prompts, layers, batch_tokens=200, share_prefixes=share_prefixes
    )
    assert set(layers) == set(found.rows)
    assert (found.shared_tokens > 0) == share_prefixes
    assert_captured(decoder, prompts, found, tolerance=1e-5)


@pytest.mark.parametrize("batch_tokens", [1, BATCH_TOKENS])
def test_any_budget_gives_the_same_rows(batch_tokens: int) -> None:
    """Room for one prompt a pass, and for all."""
    decoder, prompts = tiny_decoder("llama"), some_prompts()
    found = capture_sharing(decoder, prompts, LAYERS, batch_tokens=batch_tokens)
    assert_captured(decoder, prompts, found, tolerance=1e-5)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-13), (torch.bfloat16, 3e-2), (torch.float16, 3e-3)],
    ids=str,
)
def test_rows_are_in_the_dtype_computed(dtype: torch.dtype, tolerance: float) -> None:
    """On the CPU, ``(prompts, hidden)``, neither widened nor narrowed."""
    decoder, prompts = tiny_decoder("llama", dtype=dtype), some_prompts(12)
    found = capture_sharing(decoder, prompts, LAYERS)
    for rows in found.rows.values():
        assert (dtype, "cpu", (12, 16)) == (rows.dtype, rows.device.type, tuple(rows.shape))
    assert_captured(decoder, prompts, found, tolerance)


@settings(max_examples=25)
@given(
    prompts=st.lists(
        st.lists(st.integers(0, 63), min_size=1, max_size=64), min_size=1, max_size=20
    ),
    batch_tokens=st.integers(1, 600),
)
def test_any_prompts_are_captured(prompts: list[list[int]], batch_tokens: int) -> None:
    """One token, the whole context, repeated prompts."""
    decoder = tiny_decoder("gpt2")
    found = capture(decoder, prompts, LAYERS, batch_tokens=batch_tokens)
    assert_captured(decoder, prompts, found, tolerance=1e-5)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("batch_tokens", [1, 200, 1000])
def test_the_batch_budget_changes_no_bit(batch_tokens: int) -> None:
    """Canonical shapes: without sharing, a row's bits are its own."""
    decoder, prompts = tiny_decoder("llama"), some_prompts()
    expected = capture(decoder, prompts, LAYERS, share_prefixes=False).rows
    found = capture(decoder, prompts, LAYERS, batch_tokens=batch_tokens, share_prefixes=False).rows
    assert all(torch.equal(expected[layer], found[layer]) for layer in LAYERS)


@pytest.mark.usefixtures("one_thread")
def test_prompt_order_changes_no_bit() -> None:
    """Not even where beginnings are shared: groups follow from the set."""
    decoder, prompts = tiny_decoder("llama"), some_prompts()
    expected = capture_sharing(decoder, prompts, LAYERS).rows
    found = capture_sharing(decoder, prompts[::-1], LAYERS).rows
    assert all(torch.equal(expected[layer], found[layer].flip(0)) for layer in LAYERS)


def test_only_the_layers_asked_for_are_captured() -> None:
    """In whatever order they are named."""
    decoder, prompts = tiny_decoder("gpt2"), some_prompts(5)
    found = capture(decoder, prompts, ["norm", 1])
    assert {1, "norm"} == set(found.rows)
    assert_captured(decoder, prompts, found, tolerance=1e-5)


@pytest.mark.parametrize("batch_tokens", [64, BATCH_TOKENS])
def test_a_planted_collision_is_captured_as_equal_bits(batch_tokens: int) -> None:
    """Prompts that differ only in tokens with one embedding row, in one batch and in two."""
    decoder = plant_equal_embeddings(tiny_decoder("llama"), kept=3, copied=7)
    prompts = [[5, 3, 9], [1, 2], [5, 7, 9], *some_prompts(20)]
    found = capture(decoder, prompts, LAYERS, batch_tokens=batch_tokens)
    assert all(torch.equal(found.rows[layer][0], found.rows[layer][2]) for layer in LAYERS)


def test_tokens_are_counted() -> None:
    """Those that went through the model, padding and dummies included, and those spared."""
    decoder = tiny_decoder("gpt2")
    beginning = list(range(32))
    prompts = [[*beginning, at, 1] for at in range(40, 49)]
    found = capture_sharing(decoder, prompts, [1])
    # 32 once; then nine rests of two tokens, padded to 8, and a dummy row.
    assert 32 + 10 * 8 == found.token_forwards
    assert 32 * 8 == found.shared_tokens
    plain = capture_sharing(decoder, prompts, [1], share_prefixes=False)
    assert (10 * 40, 0) == (plain.token_forwards, plain.shared_tokens)


def test_progress_counts_prompts() -> None:
    """Upwards, dummies left out, ending at all of them."""
    told: list[tuple[int, int]] = []
    decoder, prompts = tiny_decoder("gpt2"), some_prompts()
    capture_sharing(
        decoder, prompts, [1], batch_tokens=200, progress=lambda *counts: told.append(counts)
    )
    done = [count for count, _ in told]
    assert {30} == {total for _, total in told}
    assert sorted(set(done)) == done
    assert 30 == done[-1]
    assert len(done) > 3


@pytest.mark.parametrize("error", [CUDA_SAYS, MPS_SAYS, linux_says()], ids=["cuda", "mps", "cpu"])
@pytest.mark.parametrize("share_prefixes", [True, False])
def test_out_of_memory_halves_the_batch_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, error: Exception, *, share_prefixes: bool
) -> None:
    """The rows are right, nothing is run twice, and what did not fit is not tried again."""
    decoder, prompts = tiny_decoder("gpt2"), some_prompts()
    said: list[str] = []
    told: list[int] = []
    memory = Memory(monkeypatch, decoder, error)
    memory.limit = 150
    found = capture_sharing(
        decoder,
        prompts,
        LAYERS,
        share_prefixes=share_prefixes,
        progress=lambda done, _: told.append(done),
        announce=said.append,
    )
    assert memory.refused
    assert len(memory.refused) == len(said)
    sizes = [rows * width for rows, width in memory.refused]
    assert sorted(sizes, reverse=True) == sizes
    assert len(set(sizes)) == len(sizes)
    assert all("out of memory at" in one and "tokens a pass" in one for one in said)
    assert sorted(set(told)) == told
    assert 30 == told[-1]
    memory.limit = 10**9
    assert_captured(decoder, prompts, found, tolerance=1e-5)


@pytest.mark.parametrize("error", [CUDA_SAYS, MPS_SAYS, linux_says()], ids=["cuda", "mps", "cpu"])
def test_a_single_prompt_that_does_not_fit_is_an_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """It names the model, the device, the tokens and what would help."""
    decoder = tiny_decoder("gpt2")
    Memory(monkeypatch, decoder, error).limit = 39
    message = r"tiny:gpt2: memory on cpu does not hold a single prompt of 40 tokens.*--injx-length"
    with pytest.raises(ModelError, match=message) as caught:
        capture(decoder, [[1] * 40, [2] * 40, [3]], [1])
    assert caught.value.__cause__ is error


def test_a_shared_beginning_that_does_not_fit_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a single row already: there is nothing to halve."""
    decoder = tiny_decoder("gpt2")
    Memory(monkeypatch, decoder, CUDA_SAYS).limit = 30
    with pytest.raises(ModelError, match="does not hold a single prompt of 32 tokens"):
        capture_sharing(decoder, [[*range(32), at] for at in range(40, 60)], [1])


@pytest.mark.parametrize("beginning", [[], list(range(32))])
def test_any_other_error_is_raised_as_it_is(
    monkeypatch: pytest.MonkeyPatch, beginning: list[int]
) -> None:
    """A bug must not read as a lack of memory, nor be tried again."""
    decoder, bug = tiny_decoder("gpt2"), RuntimeError("shapes cannot be multiplied")
    memory = Memory(monkeypatch, decoder, bug)
    memory.limit = 0
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        capture_sharing(decoder, [[*beginning, at] for at in range(40, 60)], [1])
    assert caught.value is bug
    assert 1 == len(memory.refused)


def test_what_memory_allowed_holds_for_later_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget is learnt once, not once a group."""
    decoder = tiny_decoder("gpt2")
    beginnings = [[at] * 16 for at in range(4)]
    prompts = [[*start, at, 1] for start in beginnings for at in range(10, 50)]
    memory = Memory(monkeypatch, decoder, CUDA_SAYS)
    memory.limit = 500
    capture_sharing(decoder, prompts, [1])
    assert len(memory.refused) == len(set(memory.refused)) <= 3


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma3_text"])
def test_rows_that_are_not_finite_are_found_by_layer(family: str) -> None:
    """From the layer on that yields NaN, and not before."""
    decoder, prompts = plant_nan(tiny_decoder(family, layers=3), 2), some_prompts(7)
    found = capture(decoder, prompts, [1, 2, 3, "norm"])
    assert [] == not_finite(found, 1)
    assert [list(range(7))] * 3 == [not_finite(found, layer) for layer in (2, 3, "norm")]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_prompts_that_are_not_finite_are_named(bad: float) -> None:
    """One token whose embedding is no number: its prompts, and no neighbor in their batch."""
    decoder = tiny_decoder("llama")
    prompts = [prompt for prompt in some_prompts(40, vocab=63) if 62 not in prompt]
    for at in (1, 4, 9):
        prompts[at] = [*prompts[at][:-1], 62]
    weight: Any = decoder.parts.embeddings.weight
    weight[62] = bad
    found = capture(decoder, prompts, LAYERS)
    assert [[1, 4, 9]] * 3 == [not_finite(found, layer) for layer in (0, 1, 2)]
