"""Tools that quantize, each in an environment of its own, and what they make of a trained model."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.errors import ModelError
from tests.damaged_codes import DAMAGES, rewritten

ROOT = Path(__file__).parents[2]
TRAINED = ROOT.parent / "shared" / "models" / "qwen3-1m"
# Of the matrices of a block, the one whose codes and scales are damaged.
DAMAGED = "model.layers.0.mlp.down_proj"
PROMPTS, LONG = 60, 40  # lines, and characters of the shortest
_FILE = "model.safetensors"
_GROUPS = 128  # a multiple of every group size


@dataclass(frozen=True)
class Made:
    """A checkpoint that a tool has made.

    Attributes:
        folder: as it would be published.
        dense: the parameters as the tool itself makes them dense, by the names of the dense model.
    """

    folder: Path
    dense: dict[str, Tensor]


def environment(tool: str) -> Path | None:
    """The interpreter of a tool's environment, which ``./dev tools NAME`` makes; None without one."""
    path = ROOT / os.environ.get("TOOLS", ".tools") / tool / "bin" / "python"
    return path if path.exists() else None


def version(tool: str) -> str:
    """A tool and its version, such as ``hqq 0.2.8``: the first line of its list that is no comment."""
    lines = (ROOT / "scripts" / "tools" / f"{tool}.txt").read_text().splitlines()
    return next(line for line in lines if not line.startswith("#")).replace("==", " ")


def make(tool: str, scheme: str, parent: Path, folder: Path) -> Made:
    """Lets a tool quantize a model.

    Args:
        tool: its name in ``scripts/tools``.
        scheme: what its script calls so.
        parent: the folder of the model.
        folder: where the checkpoint is written.
    """
    script = ROOT / "scripts" / "tools" / f"with_{tool}.py"
    command = [str(environment(tool)), str(script), str(parent), scheme, str(folder)]
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(  # noqa: S603 - a script of this repository
        command, capture_output=True, text=True, check=False, env={**kept, "HF_HUB_OFFLINE": "1"}
    )
    assert 0 == done.returncode, done.stderr[-3000:]
    return Made(folder, load_file(f"{folder}.dense.safetensors"))


def widened(source: Path, folder: Path) -> Path:
    """A trained model with some of its neurons twice and their outputs halved: the same function.

    Its neurons are then a multiple of every group size that the tools have.
    """
    folder.mkdir()
    for file in source.iterdir():
        if file.name != _FILE:
            shutil.copyfile(file, folder / file.name)
    config = json.loads((source / "config.json").read_text())
    neurons = config["intermediate_size"]
    more = -neurons % _GROUPS
    twice = torch.cat((torch.arange(neurons), torch.arange(more)))
    weights = {}
    for name, tensor in load_file(source / _FILE).items():
        changed = tensor
        if "gate_proj" in name or "up_proj" in name:
            changed = tensor[twice]
        elif "down_proj" in name:
            halved = tensor.clone()
            halved[:, :more] /= 2
            changed = halved[:, twice]
        weights[name] = changed.to(torch.bfloat16).contiguous()
    save_file(weights, folder / _FILE, metadata={"format": "pt"})
    config |= {"intermediate_size": len(twice), "dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def apart(ours: Tensor, theirs: Tensor) -> float:
    """How far a matrix is from the tool's, relative; 0 where no bit of its own type differs."""
    if theirs.to(ours.dtype).equal(ours):
        return 0.0
    return ((ours.double() - theirs.double()).norm() / theirs.double().norm()).item()


def damaged(made: Made, folder: Path, damage: str) -> Path:
    """A copy of a checkpoint with one matrix damaged in one of the ways of ``tests.damaged_codes``."""
    return rewritten(made.folder, folder, lambda tensors: DAMAGES[damage](tensors, f"{DAMAGED}."))


def against(model: Path, parent: Path) -> Audit:
    """The audit of a model against its parent on lines of a page; what the parent gives is kept."""
    prompts = parent.with_name("prompts.jsonl")
    if not prompts.exists():
        lines = (ROOT / "docs" / "ci.md").read_text().splitlines()
        long = [line for line in lines if len(line) > LONG][:PROMPTS]
        prompts.write_text("".join(json.dumps({"text": line}) + "\n" for line in long))
    paths = {"model": model, "reference": parent, "prompts": prompts}
    store = str(parent.with_name("store"))
    named = {name: str(path) for name, path in paths.items()}
    return Audit(AuditConfig(**named, device="cpu", cache_dir=store))


def said_against(model: Path, parent: Path, drift: float | dict[str, float]) -> str:
    """What the loader or the gate against the parent says; empty where nothing is wrong."""
    try:
        verdict = against(model, parent).check_state_drift_below(relative=drift)
    except ModelError as error:
        return str(error)
    return "" if verdict.passed else verdict.first_line
