"""Models and prompt sets that do not fit into memory: streamed captures, and how searches grow.

    ./dev bench scale stream --folder FOLDER     # 4.1 GB of random weights, captured in 1.3 GB
    ./dev bench scale same MODELS...               # streamed and whole, side by side: bits and times
    ./dev bench scale growth                       # searches of four sizes of random rows
    ./dev bench scale plan --folder FOLDER         # plans for 70B and a mixture, of configurations alone

`stream` writes the checkpoint once (80 blocks of a llama), and captures it in a process whose memory is
limited to a third of the weights, by a control group of its own (which takes root). The system ends the
same process where it holds the weights whole.
"""

import argparse
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from machine import status
from safetensors.torch import save_file
from side_by_side import medians, seconds, table
from torch import Tensor
from transformers import LlamaConfig, MixtralConfig

from pytest_injectivity.core.durations import duration, size
from pytest_injectivity.geometry.search.neighbors import nearest_neighbors
from pytest_injectivity.geometry.search.ratios import extreme_ratios
from pytest_injectivity.models.checkpoint import resolve
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric
from pytest_injectivity.states.capture import capture

BLOCKS, HIDDEN, INNER, VOCABULARY, HEADS = 80, 1024, 2816, 2048, 16
SHARD = 10
SIZES = (10_000, 20_000, 40_000, 80_000)
WIDTH = 4096
SUITE = Path(__file__).parents[1] / "example_suites" / "default_audit"
LARGE = {
    "llama-70b": LlamaConfig(
        hidden_size=8192,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
        intermediate_size=28_672,
        vocab_size=128_256,
        max_position_embeddings=131_072,
        tie_word_embeddings=False,
        dtype="bfloat16",
        architectures=["LlamaForCausalLM"],
    ),
    # The library's default: 32 blocks of width 4,096, two of eight experts a token.
    "mixtral-8x7b": MixtralConfig(dtype="bfloat16", architectures=["MixtralForCausalLM"]),
}
MILLION = 1_000_000


def write_large(folder: Path) -> None:
    """A llama of random weights, block after block, so that it is never in memory as a whole."""
    config = LlamaConfig(
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=BLOCKS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        vocab_size=VOCABULARY,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        dtype="float32",
        architectures=["LlamaForCausalLM"],
    )
    config.save_pretrained(folder)
    generator = torch.Generator().manual_seed(0)

    def matrix(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.02

    places: dict[str, str] = {}

    def write(name: str, tensors: dict[str, Tensor]) -> None:
        save_file(tensors, folder / name, metadata={"format": "pt"})
        places.update(dict.fromkeys(tensors, name))

    outside = {
        "model.embed_tokens.weight": matrix(VOCABULARY, HIDDEN),
        "lm_head.weight": matrix(VOCABULARY, HIDDEN),
        "model.norm.weight": torch.ones(HIDDEN),
    }
    write("outside.safetensors", outside)
    shapes = {f"self_attn.{one}_proj.weight": (HIDDEN, HIDDEN) for one in "qkvo"}
    shapes |= {f"mlp.{one}_proj.weight": (INNER, HIDDEN) for one in ("gate", "up")}
    shapes["mlp.down_proj.weight"] = (HIDDEN, INNER)
    for start in range(0, BLOCKS, SHARD):
        tensors: dict[str, Tensor] = {}
        for at in range(start, start + SHARD):
            tensors |= {f"model.layers.{at}.{name}": matrix(*of) for name, of in shapes.items()}
            for norm in ("input_layernorm", "post_attention_layernorm"):
                tensors[f"model.layers.{at}.{norm}.weight"] = torch.ones(HIDDEN)
        write(f"blocks-{start:02d}.safetensors", tensors)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def drawn(decoder: Decoder, count: int) -> list[list[int]]:
    """Random prompts of 8 to 32 tokens."""
    draw = random.Random(0)  # noqa: S311 - no secret
    return [
        [draw.randrange(decoder.vocab_size) for _ in range(draw.randint(8, 32))]
        for _ in range(count)
    ]


def limit_memory(limit: int) -> None:
    """Puts this process into a control group that may take so many bytes."""
    root = Path("/sys/fs/cgroup")
    old = (root / "memory").is_dir()
    group = (root / "memory" if old else root) / f"injectivity-{os.getpid()}"
    group.mkdir()
    (group / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(limit))
    (group / "cgroup.procs").write_text(str(os.getpid()))


def limited(folder: Path, mode: str, prompts: int) -> None:
    """One capture in this process, whose private memory is limited; prints what it took."""
    weights = sum(one.stat().st_size for one in folder.glob("*.safetensors"))
    limit_memory(weights // 3)
    before = status("VmHWM")
    decoder = load_decoder(str(folder), device="cpu", mode=mode)
    loaded = status("VmHWM")
    ids = drawn(decoder, prompts)
    start = time.perf_counter()
    rows = capture(decoder, ids, decoder.layers).rows
    taken = time.perf_counter() - start
    held = sum(one.nbytes for one in rows.values())
    block = 0 if decoder.streamed is None else decoder.streamed.disk.largest
    print(json.dumps([weights, before, loaded, status("VmHWM"), held, block, taken]))


def stream(folder: Path, prompts: int) -> None:
    """A checkpoint of three times the memory that its capture may take."""
    if not (folder / "config.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_large(folder)
    rows: list[tuple[str, ...]] = []
    for mode in ("stream", "whole"):
        own = [sys.executable, __file__, "limited", str(folder), mode, str(prompts)]
        done = subprocess.run(own, capture_output=True, text=True, check=False)  # noqa: S603 - this file
        if done.returncode:
            killed = done.returncode == -signal.SIGKILL
            why = "out of memory: killed" if killed else done.stderr.strip().splitlines()[-1]
            rows.append((mode, *["–"] * 5, why))
            continue
        weights, before, loaded, peak, held, block, taken = json.loads(
            done.stdout.strip().splitlines()[-1]
        )
        rest = peak - 2 * block - held
        sizes = (weights, before, loaded, peak)
        rows.append((mode, *map(size, sizes), size(rest), f"{taken:.0f} s"))
    columns = (
        "load",
        "weights",
        "imports",
        "loaded: peak",
        "peak",
        "less 2 blocks and rows",
        "capture",
    )
    table(f"{prompts} prompts at {BLOCKS + 1} layers", columns, rows)


def same(models: Sequence[str], prompts: int, runs: int) -> None:
    """Rows of a streamed model against those of the same model in memory."""
    rows = []
    for model in models:
        loads = [
            partial(load_decoder, model, device="cpu", mode=one) for one in ("whole", "stream")
        ]
        decoders = [load() for load in loads]
        ids = drawn(decoders[0], prompts)
        works = [partial(capture, one, ids, one.layers) for one in decoders]
        whole, streamed = (work().rows for work in works)
        equal = all(torch.equal(whole[layer], streamed[layer]) for layer in decoders[0].layers)
        times = medians(works, runs)
        rows.append(
            (
                Path(model).name,
                "all" if equal else "NOT all",
                *(f"{one:.2f} s" for one in times),
                f"{times[1] / times[0]:.2f}",
                *(f"{seconds(load):.2f} s" for load in loads),
            )
        )
    columns = ("model", "bits equal", "whole", "streamed", "ratio", "load whole", "load streamed")
    table(f"{prompts} prompts of 8 to 32 tokens, medians of {runs}", columns, rows)


def growth() -> None:
    """Seconds of exact searches on random rows, and the exponent of their growth.

    All pairs are looked at in the end, so a million rows take what four times the time for twice the
    rows comes to; smaller sets grow by less, because a search's fixed costs are most of them.
    """
    generator = torch.Generator().manual_seed(0)
    draw = random.Random(0)  # noqa: S311 - no secret
    found: dict[str, list[float]] = {"nearest neighbors": [], "co-Lipschitz constants": []}
    for count in SIZES:
        states = torch.randn(count, WIDTH, generator=generator)
        ids = [
            tuple(draw.randrange(2048) for _ in range(draw.randint(8, 32))) for _ in range(count)
        ]
        distances = PairDistances(PromptMetric.parse("levenshtein"), ids)
        found["nearest neighbors"].append(seconds(partial(nearest_neighbors, states)))
        ratios = partial(extreme_ratios, states, distances, "smallest")
        found["co-Lipschitz constants"].append(seconds(ratios))
    rows = []
    for name, times in found.items():
        last = exponent(SIZES[-2:], times[-2:])
        million = times[-1] * (MILLION / SIZES[-1]) ** 2
        slopes = (f"{exponent(SIZES, times):.2f}", f"{last:.2f}")
        rows.append((name, *(f"{one:.1f} s" for one in times), *slopes, duration(million)))
    columns = (
        "search",
        *(f"{one:,}" for one in SIZES),
        "exponent",
        "of the last two",
        f"{MILLION:,}, by the square",
    )
    table(f"random rows x {WIDTH:,}", columns, rows)


def exponent(counts: Sequence[int], times: Sequence[float]) -> float:
    """The slope of the times over the counts, both as logarithms, by least squares."""
    xs, ys = [math.log(one) for one in counts], [math.log(one) for one in times]
    middle, level = sum(xs) / len(xs), sum(ys) / len(ys)
    above = sum((x - middle) * (y - level) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - middle) ** 2 for x in xs)


def plan(folder: Path) -> None:
    """Plans of the default audit for models of which there is a configuration and a tokenizer alone."""
    shipped = resolve("builtin:gpt2-stdlib").folder
    for name, config in LARGE.items():
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        config.save_pretrained(place)
        for one in Path(shipped).glob("tokenizer*"):
            shutil.copy(one, place)
        for load in ("stream", "whole"):
            print(f"\n{name}, --injx-load={load}", flush=True)
            own = [sys.executable, "-m", "pytest", str(SUITE), "-p", "no:cacheprovider"]
            own += [f"--injx-model={name}", "--injx-max-prompts=2000", f"--injx-load={load}"]
            own += ["--injx-plan", "--injx-tflops=400"]
            done = subprocess.run(own, cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603 - pytest
            _, _, said = done.stdout.partition("memory ")
            print(f"memory {said.partition('no test was run')[0].rstrip()}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    large = kinds.add_parser("stream")
    large.add_argument("--folder", type=Path, required=True)
    large.add_argument("--prompts", type=int, default=40)
    equal = kinds.add_parser("same")
    equal.add_argument("models", nargs="+")
    equal.add_argument("--prompts", type=int, default=100)
    equal.add_argument("--runs", type=int, default=3)
    kinds.add_parser("growth")
    planned = kinds.add_parser("plan")
    planned.add_argument("--folder", type=Path, required=True)
    one = kinds.add_parser("limited")
    one.add_argument("folder", type=Path)
    one.add_argument("mode")
    one.add_argument("prompts", type=int)
    given = parser.parse_args()
    torch.manual_seed(0)
    if given.kind == "stream":
        stream(given.folder, given.prompts)
    elif given.kind == "same":
        same(given.models, given.prompts, given.runs)
    elif given.kind == "growth":
        growth()
    elif given.kind == "plan":
        plan(given.folder)
    else:
        limited(given.folder, given.mode, given.prompts)


if __name__ == "__main__":
    main()
