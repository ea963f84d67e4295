"""A model at several steps of its training, on the same prompts."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from pytest_injectivity import Audit, AuditConfig, ModelError, OptionError
from pytest_injectivity.audit.target import target
from pytest_injectivity.audit.target.told_loading import load_told
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import byte_tokenizer, save_checkpoint, tiny_decoder
from tests.audits import audit_of

IDS = [[at, at + 1, at + 2, 9] for at in range(24)]


@pytest.fixture
def trained(tmp_path: Path) -> Audit:
    """The last of three steps, in the folder of its training."""
    for step in (0, 4, 16):
        save_checkpoint(tiny_decoder("gpt2", seed=step), tmp_path / "run" / f"checkpoint-{step}")
    audit = audit_of(tmp_path, tiny_decoder("gpt2", seed=16), IDS, layers="1,2")
    folder = str(tmp_path / "run" / "checkpoint-16")
    return Audit(AuditConfig(**{**vars(audit.config), "model": folder}))


def _alone(trained: Audit, step: int) -> Audit:
    model = str(Path(trained.config.model).parent / f"checkpoint-{step}")
    return Audit(AuditConfig(**{**vars(trained.config), "model": model}))


def test_every_step_has_the_numbers_of_its_own_audit(trained: Audit) -> None:
    """To the last bit, on the prompts of the audit."""
    trajectory = trained.along_training()
    alone = {step: _alone(trained, step) for step in (0, 4, 16)}
    assert (0, 4, 16) == trajectory.steps
    assert [
        (step, f"layer{layer:02d}", audit.prompts.hash, audit.layer_summary(layer).numbers)
        for step, audit in alone.items()
        for layer in (1, 2)
    ] == [(one.step, one.layer, one.prompt_hash, one.numbers) for one in trajectory.points]


def test_a_training_is_measured_once(trained: Audit) -> None:
    """However it is named, with the layers that are asked for later; no model stays in memory."""
    trajectory = trained.along_training()
    before = trajectory.points
    trajectory.measure([0, 1])
    assert trajectory is trained.along_training(Path(trained.config.model).parent)
    assert before == tuple(one for one in trajectory.points if one.layer != "layer00")
    assert len(before) + 3 == len(trajectory.points)
    assert not any(one.target.loaded for one in trajectory.at.values())


def test_one_model_is_in_memory_at_a_time(trained: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other one is, the audited one neither, where that of a step is loaded."""
    audit = Audit(AuditConfig(**{**vars(trained.config), "no_cache": True}))
    trajectory = audit.along_training()
    targets = [audit.target, *(one.target for one in trajectory.at.values())]
    beside: list[int] = []

    def counted(*given: Any, **more: Any) -> Decoder:
        beside.append(sum(one.loaded for one in targets))
        return load_told(*given, **more)

    monkeypatch.setattr(target, "load_told", counted)
    assert audit.decoder is audit.target.decoder
    trajectory.measure([1, 2])
    assert [0, 0, 0, 0] == beside
    assert not audit.target.loaded


def test_a_training_is_measured_once_whichever_way_it_is_written(
    trained: Audit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By paths that are relative, that are not, and by a link."""
    folder = Path(trained.config.model).parent
    monkeypatch.chdir(folder.parent)
    (folder.parent / "link").symlink_to(folder)
    trajectory = trained.along_training("run")
    assert Path("run/checkpoint-0") == Path(trajectory.at[0].target.config.model)
    same = [trained.along_training(one) for one in (None, "run/checkpoint-4", folder, "link")]
    assert [trajectory] * 4 == same


def test_models_are_given_by_step(trained: Audit) -> None:
    """In any order; the first step comes first."""
    last, first = trained.config.model, _alone(trained, 0).config.model
    trajectory = trained.along_training({7: last, 2: first})
    assert (2, 7) == trajectory.steps
    assert [first, last] == [one.model for one in trajectory.points[::2]]


@pytest.mark.parametrize("given", [5, [1, 2], {0: 5}])
def test_checkpoints_are_a_folder_or_models_by_step(trained: Audit, given: Any) -> None:
    """Anything else is named, with what is accepted."""
    with pytest.raises(
        OptionError, match=r"checkpoints=.*give a folder of checkpoint-STEP folders"
    ):
        trained.along_training(given)


WRONG: dict[str, tuple[Callable[[str], Mapping[int, str]], str]] = {
    "none": (lambda _: {}, "0 of at least 2 checkpoints: one alone is compared with nothing"),
    "one": (lambda model: {3: model}, "1 of at least 2 checkpoints"),
    "negative": (lambda model: {-1: model, 0: model}, "-1 is no step of a training"),
    "text": (lambda model: {"1": model, 0: model}, "'1' is no step"),  # type: ignore[dict-item]
    "twice": (
        lambda model: {10: model, 0: f"{model}/."},
        "steps 10 and 0 are both .*checkpoint-16",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_course_is_refused(trained: Audit, wrong: str) -> None:
    """Before any model is loaded."""
    models, said = WRONG[wrong]
    with pytest.raises(OptionError, match=said):
        trained.along_training(models(trained.config.model))


def test_a_model_of_another_shape_is_refused(trained: Audit, tmp_path: Path) -> None:
    """Its numbers are those of another training."""
    other = save_checkpoint(tiny_decoder("gpt2", layers=3), tmp_path / "other")
    trajectory = trained.along_training({0: str(other), 1: trained.config.model})
    with pytest.raises(OptionError, match="are not of one training: layers 3 and 2"):
        _ = trajectory.points


def test_a_model_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    """Its prompts are others."""
    decoder = tiny_decoder("gpt2", vocab=257)
    models = {
        step: str(save_checkpoint(decoder, tmp_path / name, byte_tokenizer(bos=bool(step))))
        for step, name in enumerate(("without", "with"))
    }
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one\ntwo\nthree\n")
    audit = Audit(AuditConfig(model=models[0], prompts=str(prompts), device="cpu"))
    with pytest.raises(OptionError, match="of 3 prompts 3 have other token ids"):
        _ = audit.along_training(models).points


def test_a_checkpoint_that_cannot_be_read_is_named(trained: Audit) -> None:
    """Before others are measured."""
    weights = Path(trained.config.model).parent / "checkpoint-4" / "model.safetensors"
    torch.save({}, weights.with_name("pytorch_model.bin"))
    weights.unlink()
    with pytest.raises(ModelError, match=r"checkpoint-4: pytorch_model\.bin would be unpickled"):
        trained.along_training()


def test_the_same_weights_at_two_steps_are_refused(trained: Audit) -> None:
    """Each time they are asked for: whatever else differs, nothing was compared."""
    copied = Path(trained.config.model).with_name("checkpoint-20")
    save_checkpoint(tiny_decoder("gpt2", seed=4), copied, byte_tokenizer())
    trajectory = trained.along_training()
    for _ in range(2):
        with pytest.raises(OptionError, match="steps 4 and 20 have the same weights"):
            trajectory.measure([1])
    assert not any(one.target.loaded for one in trajectory.at.values())
