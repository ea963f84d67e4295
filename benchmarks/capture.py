"""Capture of last-token states against the loop a user would write, side by side in one process.

    ./dev bench capture --models ../shared/models/* --prompts ../shared/prompts/prompts-1k.jsonl
    ./dev bench capture --gpt2-small

The loop: padded batches of 32 with an attention mask, ``output_hidden_states=True``, logits computed
because the model computes them, the last real token's row of each layer kept; over prompts in file
order and over prompts sorted by length. Times are medians of alternating runs. Peak memory is of a
fresh process each: the high-water mark of the resident set above what it was with the model loaded.
"""

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from machine import machine, status
from rich.console import Console
from rich.table import Table
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.prompts.loading import load_prompts
from pytest_injectivity.states.capture import capture

GPT2_SMALL = "gpt2-small (random weights)"
BATCH = 32
TOLERANCE = 1e-5
Prompts = Sequence[Sequence[int]]


def plain_loop(
    model: torch.nn.Module, prompts: Prompts, order: Sequence[int]
) -> list[torch.Tensor]:
    """What a user would write: every layer's last-token rows, in the order given."""
    kept: list[list[torch.Tensor]] = []
    for start in range(0, len(order), BATCH):
        rows = [prompts[i] for i in order[start : start + BATCH]]
        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = torch.tensor(row)
            mask[at, : len(row)] = 1
        with torch.no_grad():
            out = model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        every = torch.arange(len(rows))
        kept.append([states[every, lengths - 1] for states in out.hidden_states[1:]])
    return [torch.cat(parts) for parts in zip(*kept, strict=True)]


def load(name: str) -> tuple[Decoder, torch.nn.Module]:
    """The decoder, and the same weights as a user would load them."""
    if name == GPT2_SMALL:
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config(vocab_size=50_257)).eval()
        return Decoder(GPT2_SMALL, model), model
    return load_decoder(name), AutoModelForCausalLM.from_pretrained(name).eval()


def ways(
    decoder: Decoder, model: torch.nn.Module, prompts: Prompts
) -> dict[str, Callable[[], object]]:
    """The three ways to the same rows."""
    in_file_order = list(range(len(prompts)))
    by_length = sorted(in_file_order, key=lambda i: len(prompts[i]))
    return {
        "capture": lambda: capture(decoder, prompts, decoder.layers),
        "file order": lambda: plain_loop(model, prompts, in_file_order),
        "sorted": lambda: plain_loop(model, prompts, by_length),
    }


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one run."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peak(name: str, prompts: Prompts, way: str, answer: multiprocessing.SimpleQueue) -> None:
    """In a fresh process: bytes of the peak resident set above the loaded, once-run model."""
    decoder, model = load(name)
    work = ways(decoder, model, prompts)[way]
    ways(decoder, model, prompts[:2])[way]()
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = status("VmRSS")
    work()
    answer.put(status("VmHWM") - before)


def peak_of(name: str, prompts: Prompts, way: str) -> int:
    """`peak` in a process of its own."""
    context = multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    process = context.Process(target=peak, args=(name, prompts, way, answer))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"measuring {way} on {name} failed")
    return answer.get()


def check_equal(decoder: Decoder, model: torch.nn.Module, prompts: Prompts) -> None:
    """All ways give the same rows, or there is nothing to compare."""
    ours = capture(decoder, prompts, decoder.layers).rows["norm"]
    theirs = plain_loop(model, prompts, list(range(len(prompts))))[-1]
    error = float((ours - theirs).norm() / theirs.norm())
    if not error < TOLERANCE:
        raise RuntimeError(f"capture and the plain loop differ by {error:.2g}")


def measure(name: str, prompts: Prompts, runs: int, *, quick: bool) -> list[str]:
    """A row of the table."""
    decoder, model = load(name)
    check_equal(decoder, model, prompts[:64])
    work = ways(decoder, model, prompts)
    if quick:
        del work["file order"]
    times: dict[str, list[float]] = {way: [] for way in work}
    for _ in range(runs):
        for way, run in work.items():
            times[way].append(seconds(run))
    median = {way: statistics.median(taken) for way, taken in times.items()}
    del decoder, model, work
    peaks = {} if quick else {way: peak_of(name, prompts, way) for way in median}
    tokens = sum(map(len, prompts))
    return [
        Path(name).name,
        f"{len(prompts)} / {tokens}",
        f"{median['capture']:.2f} s",
        "–" if quick else f"{median['file order'] / median['capture']:.2f}x",
        f"{median['sorted'] / median['capture']:.2f}x",
        *(
            ("–", "–", "–")
            if quick
            else (
                f"{peaks['capture'] / 2**20:.0f} MB",
                f"{peaks['capture'] / peaks['file order']:.2f}",
                f"{peaks['capture'] / peaks['sorted']:.2f}",
            )
        ),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="*", default=[], help="checkpoint folders")
    parser.add_argument("--prompts", default="builtin:stdlib")
    parser.add_argument("--max-prompts", type=int, default=1000)
    parser.add_argument("--gpt2-small", action="store_true", help="300 prompts, V = 50,257")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="the sorted loop only, no peaks")
    arguments = parser.parse_args()
    table = Table(title=f"capture, {torch.get_num_threads()} threads, medians of {arguments.runs}")
    for title in (
        "model",
        "prompts / tokens",
        "capture",
        "file order / capture",
        "sorted / capture",
        "peak",
        "/ file order's",
        "/ sorted's",
    ):
        table.add_column(title, justify="left" if title == "model" else "right")
    for name in arguments.models:
        if not (Path(name) / "model.safetensors").exists():
            continue  # a folder with a tokenizer only
        decoder = load_decoder(name)
        prompts = load_prompts(
            arguments.prompts,
            decoder.tokenizer,
            overlong="drop",
            max_prompts=arguments.max_prompts,
            context=decoder.context,
            vocab_size=decoder.vocab_size,
        )
        table.add_row(*measure(name, prompts.ids, arguments.runs, quick=arguments.quick))
    if arguments.gpt2_small:
        table.add_row(
            *measure(
                GPT2_SMALL,
                gpt2_small_prompts(arguments.prompts),
                arguments.runs,
                quick=arguments.quick,
            )
        )
    console = Console(width=140)
    console.print(table)
    console.print(machine())


def gpt2_small_prompts(source: str) -> Prompts:
    """300 prompts with the lengths of real ones and random tokens of the large vocabulary."""
    shipped = AutoTokenizer.from_pretrained(
        Path(__file__).parent.parent / "pytest_injectivity" / "models" / "shipped"
    )
    lengths = load_prompts(source, shipped, overlong="drop", max_prompts=300, context=256).lengths
    draw = torch.Generator().manual_seed(0)
    return [tuple(torch.randint(50_257, (int(n),), generator=draw).tolist()) for n in lengths]


if __name__ == "__main__":
    main()
