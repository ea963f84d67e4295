"""Noise of the size of rounding on the gradients inside the blocks."""

import pytest
import torch
from torch import Tensor

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import tiny_decoder
from pytest_injectivity.theory.backward_noise import BackwardNoise
from pytest_injectivity.theory.contraction import step_jacobians

IDS = torch.tensor([5, 6, 7])


def _gradients(decoder: Decoder, *seeds: int | None) -> list[Tensor]:
    """Of one graph, by each seed; None: without noise."""
    noise = BackwardNoise(decoder)
    rows = decoder.embedding_matrix()[IDS][None].clone().requires_grad_()
    with torch.enable_grad(), noise.watched():
        total = decoder.states_from_embeddings(rows, [2], prefix=None)[2].sum()
    found = []
    for seed in seeds:
        if seed is None:
            found += torch.autograd.grad(total, rows, retain_graph=True)
        else:
            with noise.on(decoder.device, seed):
                found += torch.autograd.grad(total, rows, retain_graph=True)
    return found


def test_noise_moves_gradients_by_about_what_rounding_may() -> None:
    """By a few units of rounding, by its seed alone, and not once it is off."""
    decoder = tiny_decoder("llama").as_float64()
    plain, moved, again, other, off = _gradients(decoder, None, 3, 3, 4, None)
    apart = float((moved - plain).norm() / plain.norm())
    assert 1e-16 < apart < 1e-13
    assert torch.equal(moved, again)
    assert not torch.equal(moved, other)
    assert torch.equal(plain, off)


def test_rows_that_run_the_prefix_again_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backward pass needs the graph of every token of every row."""
    decoder = tiny_decoder("mamba").as_float64()
    rows = []
    run = decoder.states_from_embeddings

    def counted(given: Tensor, *args: object, **named: object) -> dict[object, Tensor]:
        rows.append(len(given))
        return run(given, *args, **named)  # type: ignore[arg-type, return-value] # handed on

    monkeypatch.setattr(decoder, "states_from_embeddings", counted)
    step_jacobians(decoder, torch.arange(1, 5), [1], rows=8)
    assert 2 == max(rows)
    assert decoder.hidden_size == sum(rows)
