"""The checkpoints of a training, found by their steps."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pytest_injectivity import ModelError, OptionError, list_checkpoints, log_spaced
from pytest_injectivity.testing import save_checkpoint, tiny_decoder


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """Three checkpoints, as a trainer leaves them: with what it pickles beside the weights."""
    for step in (0, 9, 10):
        save_checkpoint(tiny_decoder("gpt2"), tmp_path / f"checkpoint-{step}")
    (tmp_path / "checkpoint-10" / "optimizer.pt").write_bytes(b"pickled")
    (tmp_path / "runs").mkdir()
    return tmp_path


def test_checkpoints_are_in_the_order_of_their_steps(training: Path) -> None:
    """As numbers, not as texts; what else lies there is not looked at."""
    expected = {step: str(training / f"checkpoint-{step}") for step in (0, 9, 10)}
    assert list(expected.items()) == list(list_checkpoints(training).items())


def test_so_many_are_taken(training: Path) -> None:
    """The first and the last one among them."""
    assert [0, 10] == list(list_checkpoints(training, most=2))


@pytest.mark.parametrize("model", ["", "checkpoint-9"])
def test_checkpoints_beside_a_model(training: Path, model: str) -> None:
    """In the folder of the training, and beside one of its checkpoints."""
    assert [0, 9, 10] == list(list_checkpoints(training / model))


@pytest.mark.parametrize("model", ["", "checkpoint-9"])
def test_paths_are_written_as_the_folder_is(
    training: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative one gives relative ones, of the training as of one of its checkpoints."""
    monkeypatch.chdir(training.parent)
    found = list_checkpoints(Path(training.name) / model)
    assert f"{training.name}/checkpoint-9" == Path(found[9]).as_posix()


def test_checkpoints_beside_the_one_that_the_process_runs_in(
    training: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dot has no parent of its own."""
    monkeypatch.chdir(training / "checkpoint-9")
    assert str(training / "checkpoint-9") == list_checkpoints(".")[9]


def test_a_training_may_be_called_like_a_checkpoint(tmp_path: Path) -> None:
    """Its name ends in no step, so that its parent is not looked at."""
    run = tmp_path / "checkpoint-exp"
    save_checkpoint(tiny_decoder("gpt2"), run / "checkpoint-7")
    save_checkpoint(tiny_decoder("gpt2"), tmp_path / "checkpoint-8")
    assert {7: str(run / "checkpoint-7")} == list_checkpoints(run)


def _empty(folder: Path) -> None:
    (folder / "checkpoint-10").rename(folder / "ten")
    (folder / "checkpoint-9").rename(folder / "nine")
    (folder / "checkpoint-0").rename(folder / "none")


def _pickled(folder: Path) -> None:
    weights = folder / "checkpoint-9" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "none": (_empty, "holds no checkpoint-STEP folder"),
    "no number": (lambda at: (at / "checkpoint-best").mkdir(), "'best' is no step: give a whole"),
    "negative": (lambda at: (at / "checkpoint--1").mkdir(), "'-1' is no step"),
    "a file": (lambda at: (at / "checkpoint-7").touch(), "checkpoint-7 is a file"),
    "twice": (lambda at: (at / "checkpoint-09").mkdir(), "are of one step"),
    "no config": (lambda at: (at / "checkpoint-5").mkdir(), "checkpoint-5 has no config.json"),
    "no weights": (
        lambda at: (at / "checkpoint-9" / "model.safetensors").unlink(),
        "checkpoint-9 has no weights",
    ),
    "pickled": (_pickled, r"checkpoint-9: pytorch_model\.bin would be unpickled"),
    "cut": (
        lambda at: (at / "checkpoint-9" / "model.safetensors").write_bytes(b"1234567890"),
        "checkpoint-9.* is no complete safetensors file",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_training_is_refused(training: Path, wrong: str) -> None:
    """Before anything is measured, and by name."""
    spoil, said = WRONG[wrong]
    spoil(training)
    with pytest.raises(ModelError, match=said):
        list_checkpoints(training)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """And not taken for one without checkpoints."""
    with pytest.raises(ModelError, match="nowhere: no such folder"):
        list_checkpoints(tmp_path / "nowhere")


SPACED: dict[str, tuple[Sequence[int], int, list[int]]] = {
    "a factor": (range(1, 257), 5, [1, 4, 16, 64, 256]),
    "behind none": (range(257), 6, [0, 1, 4, 16, 64, 256]),
    "too few": ([3, 5], 20, [3, 5]),
    "the ends": (range(100), 2, [0, 99]),
    "crowded": (range(8), 7, [0, 1, 2, 3, 4, 5, 7]),
}


@pytest.mark.parametrize("case", SPACED)
def test_steps_grow_by_a_factor(case: str) -> None:
    """As many as are asked for, each once, the first and the last among them."""
    steps, count, expected = SPACED[case]
    assert expected == log_spaced(steps, count)


@pytest.mark.parametrize("count", [1, 0, -3, 2.0, True])
def test_fewer_than_two_steps_are_refused(count: object) -> None:
    """One step is no course."""
    with pytest.raises(OptionError, match="give an integer of at least 2"):
        log_spaced([1, 2, 3], count)  # type: ignore[arg-type] # which is the test
