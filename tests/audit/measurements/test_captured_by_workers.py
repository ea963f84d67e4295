"""Audits whose states workers capture: the bits of one process, runs that go on, what is sent."""

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_injectivity import Audit
from pytest_injectivity.audit.target.worker_model import WorkerModel
from pytest_injectivity.errors import ModelError
from pytest_injectivity.testing import tiny_decoder
from tests.audits import Witness, audit_of
from tests.executors import InTurn

IDS: Sequence[Sequence[int]] = [[at % 60, at // 60, *range(at % 5)] for at in range(60)]


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Audit]:
    """Audits of one decoder in small batches, in a store that is named."""
    decoder = tiny_decoder("llama")

    def audit(store: str, executor: InTurn | None = None, **config: Any) -> Audit:
        config = {"batch_tokens": 32, "cache_dir": str(tmp_path / store), **config}
        return audit_of(tmp_path, decoder, IDS, executor=executor, **config)

    return audit


def same(one: Audit, other: Audit) -> bool:
    """Whether two audits have the same states at all layers."""
    return all(torch.equal(one.states(layer), other.states(layer)) for layer in one.layers)


@pytest.mark.parametrize("config", [{}, {"activation_bits": "4"}])
def test_the_states_are_those_of_one_process(
    made: Callable[..., Audit], config: dict[str, str]
) -> None:
    """To the last bit, also with activations on a grid whose scales come from the prompts."""
    executor = InTurn()
    assert same(made("alone", **config), made("shared", executor, **config))
    assert executor.ran > 10


def test_this_process_lets_the_weights_go(made: Callable[..., Audit]) -> None:
    """They are in memory once for each worker; progress is told as in one process."""
    witness = Witness()
    audit = made("shared", InTurn(), watcher=witness)
    assert audit.decoder is not None
    assert 60 == len(audit.states(1))
    assert not audit.target.loaded
    (steps,) = [steps for label, _, steps in witness.works if label == "hidden states"]
    assert (sorted(steps), 60) == (steps, steps[-1])


def test_a_run_that_was_killed_goes_on(made: Callable[..., Audit]) -> None:
    """What came before is in the store, and is not captured again."""
    with pytest.raises(KeyboardInterrupt):
        made("shared", InTurn(stop=(6, KeyboardInterrupt()))).states(1)
    later = InTurn()
    assert same(made("alone"), made("shared", later))
    assert 0 < later.ran < 12


def test_one_part_is_captured_here(made: Callable[..., Audit]) -> None:
    """A worker would load the model for it."""
    executor = InTurn()
    assert 60 == len(made("shared", executor, batch_tokens=4096).states(1))
    assert 0 == executor.ran


def test_workers_of_another_kind_are_refused(
    made: Callable[..., Audit], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their bits would be other ones."""
    model = WorkerModel.of(made("shared").target)
    monkeypatch.setattr("pytest_injectivity.store.provenance.libraries", lambda: ("torch 1.0",))
    with pytest.raises(ModelError, match=r"computes other bits .* it has 'torch 1\.0'"):
        model.decoder()


def test_a_model_is_found_from_anywhere(
    made: Callable[..., Audit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker may have been started in another folder."""
    assert made("shared").config.model == str(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    model = WorkerModel.of(made("shared", model="model").target)
    monkeypatch.chdir("/")
    assert model.decoder().n_layers == 2


def test_no_key_and_no_prompts_go_to_workers(made: Callable[..., Audit]) -> None:
    """But the ids that they run: how the model is loaded is all that they know of the audit."""
    audit = made("shared", hash_key="a secret key")
    packed = pickle.dumps(WorkerModel.of(audit.target))
    assert b"a secret key" not in packed
    assert b"prompts.jsonl" not in packed
