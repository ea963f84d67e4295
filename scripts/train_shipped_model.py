"""Train the model that the package ships, from scratch, on text that every machine has.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python scripts/train_shipped_model.py
    python scripts/train_shipped_model.py --evaluate   # the held-out numbers of the shipped folder

The text is the running Python's standard library (`pytest_injectivity.prompts.stdlib`). Whole
modules are held out by a hash of their path, so the same modules are held out on every machine, and
neither the tokenizer nor the weights nor any choice made here has seen them. Three numbers judge
the result, all in nats per held-out token: the model's loss, the entropy of the held-out tokens'
own distribution (what a model without context could reach at best), and the loss of an interpolated
Kneser-Ney bigram model counted on the same training tokens (what one token of context gives).

The audit looks at every layer and at prompts of any length, so training is on full windows at
random offsets: each of the 256 positions is trained as often as any other.
"""

import argparse
import hashlib
import json
import math
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
import transformers
from tokenizers import decoders, models, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
)

from pytest_injectivity.core.shapes import Float, Int
from pytest_injectivity.prompts.stdlib import stdlib_sources

SHIPPED = Path(__file__).parents[1] / "pytest_injectivity" / "models" / "shipped"
END_OF_TEXT = "<|endoftext|>"
VOCABULARY = 2048
CONTEXT = 256
BATCH = 16
HELD_OUT_SHARE = 1 / 16
PEAK_LEARNING_RATE = 4e-3
WARM_UP_STEPS = 200
TIMED_STEPS = 20  # enough to know the pace, few enough to be inside the warm-up
CURVE_EVERY = 250

Stream = Int[np.ndarray, " tokens"]
Windows = Int[Tensor, "windows context"]


def main() -> None:
    """Parse the command line; train and write the folder, or evaluate the one that is there."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=SHIPPED, help="the model folder")
    parser.add_argument("--steps", type=int, default=5400, help="optimiser steps")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the weights and the order of windows"
    )
    parser.add_argument(
        "--minutes",
        type=float,
        default=math.inf,
        help="take fewer steps where the pace of the first ones says that --steps takes longer",
    )
    parser.add_argument("--evaluate", action="store_true", help="only judge the folder at --out")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a model this small loses more to waiting threads than it gains
    if options.evaluate:
        print(json.dumps(evaluate(options.out), indent=1))
        return
    write_folder(options.out, *train(options.steps, options.seed, options.minutes))
    print(json.dumps(evaluate(options.out), indent=1))


def is_held_out(path: str) -> bool:
    """Whether the module at `path` is held out: by its name alone, on every machine the same."""
    return hashlib.sha256(path.encode()).digest()[0] < 256 * HELD_OUT_SHARE


def documents() -> tuple[list[str], list[str]]:
    """The standard library's modules that hold anything: (training, held out)."""
    sources = [(path, source) for path, source in stdlib_sources() if source.strip()]
    return (
        [source for path, source in sources if not is_held_out(path)],
        [source for path, source in sources if is_held_out(path)],
    )


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: lossless on any text, because all 256 bytes are tokens."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def token_stream(tokenizer: Any, texts: list[str]) -> Stream:
    """All texts as one row of ids, each text between two `<|endoftext|>`."""
    end = tokenizer.convert_tokens_to_ids(END_OF_TEXT)
    rows = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return np.array([end, *(token for row in rows for token in (*row, end))], dtype=np.int64)


def windows(stream: Stream, offset: int = 0) -> Windows:
    """Consecutive windows of 257 tokens, 256 inputs and 256 targets; neighbors share a token."""
    count = (len(stream) - offset - 1) // CONTEXT
    starts = offset + CONTEXT * np.arange(count)[:, None]
    return torch.from_numpy(stream[starts + np.arange(CONTEXT + 1)])


def sample(rows: Windows) -> Windows:
    """Every eighth window: what a quick check judges, recorded beside the loss on all of them."""
    return rows[::8]


def unigram_entropy(stream: Stream) -> float:
    """Entropy in nats of the stream's own token distribution."""
    counts = np.bincount(stream)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def bigram_probabilities(
    stream: Stream, vocabulary: int = VOCABULARY
) -> Float[np.ndarray, "previous next"]:
    """Interpolated Kneser-Ney bigram model, the strongest common one (Chen and Goodman, 1999).

    Each seen pair gives up a discount, which is shared out by how many different tokens a token has
    followed. Every row sums to 1 and, where any pair was seen just once, holds no zero.
    """
    counts = np.zeros((vocabulary, vocabulary))
    np.add.at(counts, (stream[:-1], stream[1:]), 1)
    once, twice = (counts == 1).sum(), (counts == 2).sum()  # noqa: PLR2004 - the paper's n1 and n2
    discount = once / max(1, once + 2 * twice)
    continuations = (counts > 0).sum(0) + 1.0  # one more, so that no token is impossible
    lower_order = continuations / continuations.sum()
    totals = counts.sum(1, keepdims=True)
    given_up = discount * (counts > 0).sum(1, keepdims=True)
    seen = totals > 0
    kept = np.maximum(counts - discount, 0) / np.where(seen, totals, 1)
    return kept + np.where(seen, given_up / np.where(seen, totals, 1), 1) * lower_order


def bigram_loss(training: Stream, held_out: Stream) -> float:
    """Mean nats per token of the training stream's bigram model on the held-out stream."""
    probabilities = bigram_probabilities(training)
    return float(-np.log(probabilities[held_out[:-1], held_out[1:]]).mean())


@torch.no_grad()
def token_losses(model: torch.nn.Module, rows: Windows) -> Float[Tensor, "windows context"]:
    """Nats of each target in windows of 257 ids, in the model's own dtype.

    Nothing is carried from one window to the next: a window's first target is predicted from one
    token, so the mean is, if anything, too high.
    """
    losses = []
    for batch in rows.split(BATCH):
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits
        losses.append(functional.cross_entropy(logits.mT, batch[:, 1:], reduction="none"))
    return torch.cat(losses)


def model_loss(model: torch.nn.Module, rows: Windows) -> float:
    """Mean nats per token over windows of 257 ids."""
    return float(token_losses(model, rows).double().mean())


def batches(stream: Stream, generator: np.random.Generator) -> Iterator[Windows]:
    """Batches without end; each epoch cuts the windows at a new offset and shuffles them."""
    while True:
        epoch = windows(stream, int(generator.integers(CONTEXT)))
        order = torch.from_numpy(generator.permutation(len(epoch)))
        for chosen in order.split(BATCH):
            if len(chosen) == BATCH:
                yield epoch[chosen]


def new_model() -> GPT2LMHeadModel:
    """The shipped configuration with the library's GPT-2 initialisation."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=CONTEXT,
            n_embd=128,
            n_layer=4,
            n_head=4,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=0,
            eos_token_id=0,
            # gelu_new in one kernel: the same function, a fifth faster to train; see train()
            activation_function="gelu_pytorch_tanh",
        )
    )


def new_optimizer(model: torch.nn.Module) -> torch.optim.AdamW:
    """AdamW that decays the blocks' matrices only.

    Biases and norms are spared as usual. Embeddings are spared because tokens that the training
    text hardly holds (single bytes above 127) would be decayed towards each other, and an audit
    would then find the near collisions that the optimiser made.
    """
    parameters = dict(model.named_parameters())
    decayed = [name for name in parameters if ".h." in name and parameters[name].ndim > 1]
    spared = [name for name in parameters if name not in decayed]
    groups = [
        {"params": [parameters[name] for name in names], "weight_decay": decay}
        for names, decay in ((decayed, 0.1), (spared, 0.0))
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True)


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to a hundredth of the peak."""
    if step < WARM_UP_STEPS:
        return PEAK_LEARNING_RATE * (step + 1) / WARM_UP_STEPS
    progress = (step - WARM_UP_STEPS) / max(1, steps - WARM_UP_STEPS)
    return PEAK_LEARNING_RATE * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)


def train(steps: int, seed: int, minutes: float) -> tuple[Any, Any, dict[str, Any]]:
    """Train on the running Python's library: (model, tokenizer, record of the training)."""
    torch.manual_seed(seed)
    training, held_out = documents()
    tokenizer = train_tokenizer(training)
    stream, judged = token_stream(tokenizer, training), token_stream(tokenizer, held_out)
    model, started = new_model(), time.monotonic()
    source = batches(stream, np.random.default_rng(seed))
    curve = optimise(model, source, windows(judged), steps, minutes)
    model.config.activation_function = "gelu_new"  # as GPT-2 folders name it; the same function
    taken = curve[-1]["step"]
    record = {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "versions": {m.__name__: m.__version__ for m in (torch, transformers, tokenizers)},
        "seed": seed,
        "steps": taken,
        "batch": [BATCH, CONTEXT],
        "training_modules": len(training),
        "held_out_modules": len(held_out),
        "training_tokens": len(stream),
        "held_out_tokens": len(judged),
        "tokens_seen": taken * BATCH * CONTEXT,
        "wall_seconds": round(time.monotonic() - started),
        "peak_learning_rate": PEAK_LEARNING_RATE,
        "loss_curve": curve,
    }
    return model, tokenizer, record


def optimise(
    model: GPT2LMHeadModel, source: Iterator[Windows], judged: Windows, steps: int, minutes: float
) -> list[dict[str, Any]]:
    """Take the steps, and return the curve: losses every 250 steps and after the last one."""
    optimizer, started = new_optimizer(model), time.monotonic()
    curve: list[dict[str, Any]] = []
    losses: list[float] = []
    step = 0
    while step < steps:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        losses.append(training_step(model, optimizer, next(source)))
        step += 1
        if step == TIMED_STEPS and minutes < math.inf:
            pace = (time.monotonic() - started) / TIMED_STEPS
            steps = max(step, min(steps, int(60 * minutes / pace)))
        if step % CURVE_EVERY == 0 or step == steps:
            point = {
                "step": step,
                "training_loss": round(float(np.mean(losses)), 4),
                "held_out_loss": round(model_loss(model, judged), 4),
            }
            print(point, f"{time.monotonic() - started:.0f} s", flush=True)
            curve.append(point)
            losses.clear()
    return curve


def training_step(model: Any, optimizer: torch.optim.Optimizer, batch: Windows) -> float:
    """One step on windows of 257 ids; bf16 products, float32 weights. Returns the loss in nats."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits
    loss = functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def evaluate(folder: Path) -> dict[str, Any]:
    """The held-out numbers of a folder on the running Python's library, in nats per token."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True).eval()
    training, held_out = (token_stream(tokenizer, texts) for texts in documents())
    judged = windows(held_out)
    return {
        "python": platform.python_version(),
        "held_out_loss": round(model_loss(model, judged), 4),
        "sample_loss": round(model_loss(model, sample(judged)), 4),
        "unigram_entropy": round(unigram_entropy(judged[:, 1:].flatten().numpy()), 4),
        "bigram_loss": round(bigram_loss(training, held_out[: judged.shape[0] * CONTEXT + 1]), 4),
        "judged_tokens": judged.shape[0] * CONTEXT,
    }


def write_folder(out: Path, model: Any, tokenizer: Any, record: dict[str, Any]) -> None:
    """Write and judge the folder beside its place, then move it there whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        fresh = Path(scratch) / out.name
        model.save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        record["held_out"] = evaluate(fresh)
        (fresh / "training.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        (fresh / "README.md").write_text(model_card(record), encoding="utf-8")
        for file in fresh.iterdir():
            file.chmod(0o644)  # the library writes weights that only their owner may read
        if out.exists():
            shutil.move(out, Path(scratch) / "replaced")
        shutil.move(fresh, out)


def model_card(record: dict[str, Any]) -> str:
    """The folder's README, with every number from the record of the training."""
    judged, (rows, context) = record["held_out"], record["batch"]
    minutes, epochs = record["wall_seconds"] / 60, record["tokens_seen"] / record["training_tokens"]
    return f"""# gpt2-stdlib

A small GPT-2 (4 layers, width 128, 4 heads, context {CONTEXT}, tied embeddings, float32) with a
byte-level BPE tokenizer of {VOCABULARY:,} tokens, both trained from scratch on the standard
library of Python {record["python"]}. pytest-injectivity ships it as `builtin:gpt2-stdlib`: a
trained model on every machine, without a network, for examples and tests.

| on the held-out modules | nats per token |
| --- | ---: |
| this model | {judged["held_out_loss"]:.4f} |
| bigram model (interpolated Kneser-Ney) | {judged["bigram_loss"]:.4f} |
| unigram entropy | {judged["unigram_entropy"]:.4f} |

- **Text**: {record["training_modules"]} modules, {record["training_tokens"]:,} tokens. Held out, by a
  hash of the module's path: {record["held_out_modules"]} modules, {judged["judged_tokens"]:,} tokens
  judged. No module is in both; lines that the library repeats everywhere are.
- **Training**: {record["steps"]:,} steps of {rows} windows of {context} tokens, {epochs:.1f}
  epochs, AdamW, {minutes:.0f} minutes on one CPU core, seed {record["seed"]}, {record["date"]},
  by `scripts/train_shipped_model.py`. The loss curve is in `training.json`. The held-out modules
  chose nothing: the weights are those of the last step.
- **Tokenizer**: lossless on any UTF-8 text. It adds nothing to a text; `<|endoftext|>` (id 0)
  stood between the documents.
- **Licence**: the text is under the Python Software Foundation License Version 2; weights and
  tokenizer are distributed with this package under Apache-2.0.
- **Limits**: it continues Python code, and English about Python, badly. Characters that the
  library hardly uses are bytes it has hardly seen. It has no positions past {CONTEXT} tokens. It
  is there to be audited, not to be used, and its numbers say nothing about larger models.
"""


if __name__ == "__main__":
    main()
