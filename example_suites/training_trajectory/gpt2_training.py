"""Trains a small GPT-2 from scratch on Python's standard library, and keeps checkpoints on the way.

The text is what this machine has: docstrings and functions of the running Python's library, cut into
windows of tokens. One thread, one seed: the same machine trains the same weights.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

from pytest_injectivity import load_decoder, load_prompts, log_spaced

TOKENIZER = "builtin:gpt2-stdlib"
RECORD = "training.json"


@dataclass(frozen=True)
class Training:
    """What is trained, and how.

    Attributes:
        steps: of the optimizer (AdamW); the learning rate rises over the first twentieth of them, then
            falls along a cosine.
        kept: so many checkpoints, at steps that grow by about the same factor, from 0 on.
        layers, width, heads: of the model.
        window, batch: tokens of a row, rows of a step.
        activation: of the blocks, such as ``gelu_new`` or ``relu``.
        rate: the highest learning rate.
        decay: weight decay of the blocks' matrices.
        seed: of the weights and of the order of windows.
        tied: the head is the input embedding's matrix.
    """

    steps: int = 1000
    kept: int = 20
    layers: int = 4
    width: int = 128
    heads: int = 4
    window: int = 64
    batch: int = 16
    activation: str = "gelu_new"
    rate: float = 3e-3
    decay: float = 0.1
    seed: int = 0
    tied: bool = True


def trained(folder, training, change=None):
    """The folder with the checkpoints of a training; trained where it is not there yet.

    Args:
        folder: gets ``checkpoint-STEP`` folders and ``training.json``, which has the loss of each.
        training: what is trained.
        change: called with the model before the first step and after each.
    """
    folder = Path(folder)
    settings = asdict(training)
    record = folder / RECORD
    if record.is_file() and json.loads(record.read_text())["training"] == settings:
        return folder
    if folder.exists():
        raise FileExistsError(
            f"{folder} holds another training: move it away, or name another folder"
        )
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        losses = _train(unfinished, training, change)
    finally:
        torch.set_num_threads(threads)
    (unfinished / RECORD).write_text(json.dumps({"training": settings, "loss": losses}, indent=1))
    unfinished.rename(folder)
    return folder


def losses_of(folder):
    """By step, the mean loss in nats a token of the batches since the checkpoint before."""
    record = Path(folder) / RECORD
    if not record.is_file():
        return {}
    return {int(step): loss for step, loss in json.loads(record.read_text())["loss"].items()}


def _train(folder, training, change):
    torch.manual_seed(training.seed)
    tokenizer = load_decoder(TOKENIZER).tokenizer
    windows = load_prompts("builtin:stdlib", tokenizer, length=training.window).ids
    rows = torch.tensor(windows)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=training.window,
            n_embd=training.width,
            n_layer=training.layers,
            n_head=training.heads,
            activation_function=training.activation,
            tie_word_embeddings=training.tied,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    if change is not None:
        change(model)
    optimizer = _optimizer(model, training)
    order = torch.Generator().manual_seed(training.seed)
    kept = set(log_spaced(range(training.steps + 1), training.kept))
    losses, recent, queue = {}, [], torch.empty(0, dtype=torch.long)
    for step in range(training.steps + 1):
        if step in kept:
            model.save_pretrained(folder / f"checkpoint-{step}")
            tokenizer.save_pretrained(folder / f"checkpoint-{step}")
        if len(queue) < training.batch:
            queue = torch.randperm(len(rows), generator=order)
        batch, queue = rows[queue[: training.batch]], queue[training.batch :]
        loss = _loss(model, batch)
        recent.append(float(loss.detach()))
        if step in kept:
            losses[step] = sum(recent) / len(recent)
            recent = []
        if step == training.steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = training.rate * _share(step, training.steps)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if change is not None:
            change(model)
    return losses


def _loss(model, batch):
    """Nats a token."""
    logits = model(input_ids=batch[:, :-1], use_cache=False).logits
    return functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())


def _optimizer(model, training):
    named = dict(model.named_parameters())
    decayed = [one for name, one in named.items() if ".h." in name and one.ndim > 1]
    spared = [one for name, one in named.items() if not (".h." in name and one.ndim > 1)]
    groups = [
        {"params": decayed, "weight_decay": training.decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98))


def _share(step, steps):
    """Of the highest learning rate: up in a straight line, then down along a cosine to a hundredth."""
    warm_up = max(1, steps // 20)
    if step < warm_up:
        return (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    return 0.01 + 0.99 * (1.0 + float(torch.cos(torch.tensor(torch.pi * done)))) / 2
