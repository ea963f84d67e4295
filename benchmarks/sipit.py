"""SipIt's lens against the published algorithm, side by side in one process.

    ./dev bench sipit --shared ../shared                   # everything but large vocabularies
    ./dev bench sipit --shared ../shared speed forwards    # parts by name
    ./dev bench sipit --shared ../shared large             # V = 50,257 and 151,936, many minutes

Prompts: nine of ten are text, one of ten random tokens. Observed are the states of every position,
tolerances are the noise floor of a sample, as an audit takes them. Times are CPU times of this process
on one thread, so that a busy machine does not change a ratio. "calibration" holds everything done once
a layer: the lens and the table of the first position.
"""

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from side_by_side import table
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.inversion.recovery import Recovery
from pytest_injectivity.inversion.sipit import SipIt, observe
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.prompts.loading import load_prompts
from pytest_injectivity.states.resolution import measure_noise

MODELS = ("gpt2-1m", "qwen3-1m", "stories260k-llama")
SHIPPED = "builtin:gpt2-stdlib"
# What a model computes in, or is quantized to while it is loaded.
PRECISIONS = (
    {},
    {"dtype": "bfloat16"},
    {"quantization": "bnb-int8"},
    {"quantization": "torchao-int8"},
    {"quantization": "bnb-nf4"},
    {"quantization": "torchao-int4"},
    {"activation_bits": "8 per-token"},
    {"activation_bits": "4 per-token"},
)
PROMPTS, TOKENS, LONG = 100, 20, 200
PUBLISHED_PROMPTS = 5
LONG_PROMPTS = 50


@dataclass(eq=False)
class Shared:
    """Models of a folder, and prompts for them."""

    root: Path

    @cache  # noqa: B019 - one instance, for the length of the process
    def decoder(self, name: str) -> Decoder:
        """A model of the folder, or the shipped one."""
        return load_decoder(name if name == SHIPPED else str(self.root / "models" / name))

    def prompts(self, name: str, count: int, length: int) -> list[tuple[int, ...]]:
        """Windows of the prompt file, one of ten prompts random tokens."""
        decoder = self.decoder(name)
        found = load_prompts(
            str(self.root / "prompts" / "prompts-1k.jsonl"),
            decoder.tokenizer,
            overlong="drop",
            context=decoder.context,
            vocab_size=decoder.vocab_size,
        )
        # Short prompts follow one another where one alone is not long enough.
        text = [ids[:length] for ids in found.ids if len(ids) >= length]
        if len(text) < count:
            flat = [token for ids in found.ids for token in ids]
            text = [tuple(flat[at : at + length]) for at in range(0, len(flat) - length, length)]
        drawn = random_prompts(decoder, max(1, count // 10), length)
        return text[: count - len(drawn)] + drawn


@dataclass(frozen=True)
class Sample:
    """Prompts, their states at a layer, and the tolerance."""

    decoder: Decoder
    layer: Layer
    prompts: Sequence[tuple[int, ...]]
    states: Sequence[Tensor]
    eps: tuple[float, float]

    @classmethod
    def of(
        cls,
        decoder: Decoder,
        layer: Layer,
        prompts: Sequence[tuple[int, ...]],
        *,
        noise: int = 8,
    ) -> "Sample":
        """Observes the states of the prompts, and the noise floor on so many of them."""
        floor = measure_noise(decoder, decoder.as_float64(), prompts[:noise], [layer])[layer]
        states = [observe(decoder, ids, [layer])[layer] for ids in prompts]
        return cls(decoder, layer, prompts, states, (floor.at(0), floor.at(1)))

    def first(self, count: int) -> "Sample":
        """The first so many prompts, at the same tolerance."""
        return replace(self, prompts=self.prompts[:count], states=self.states[:count])


@dataclass(frozen=True)
class Run:
    """One inversion of a sample by the lens."""

    exact: int
    calibration: float
    recovery: float
    forwards: float
    first: float
    candidates: float


def random_prompts(decoder: Decoder, count: int, length: int) -> list[tuple[int, ...]]:
    """Uniform tokens."""
    generator = np.random.default_rng(0)
    return [
        tuple(row) for row in generator.integers(decoder.vocab_size, size=(count, length)).tolist()
    ]


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of one run."""
    start = time.process_time()
    work()
    return time.process_time() - start


def by_lens(sample: Sample) -> Run:
    """Inverts a sample; calibration and recovery timed apart."""
    sipit = SipIt(sample.decoder, sample.layer, eps=sample.eps)
    calibration = cpu_seconds(lambda: sipit.calibrate(sample.states))
    found: list[Recovery] = []
    nothing = [()] * len(sample.states)
    recovery = cpu_seconds(lambda: found.extend(sipit.recover(sample.states, nothing)))
    searched = [o for one in found for o in one.outcomes if o.position]
    tried = [o.tried for o in searched if o.tried]
    return Run(
        exact=sum(map(Recovery.exact, found, sample.prompts)),
        calibration=calibration,
        recovery=recovery,
        forwards=sipit.work.forwards / sum(map(len, sample.prompts)),
        first=sum(o.rank == 0 for o in searched) / max(1, len(searched)),
        candidates=statistics.fmean(tried) if tried else 0.0,
    )


def published(sample: Sample) -> tuple[int, float]:
    """[N] alg. 1 and 3 with the settings of app. E: prompts that came back, candidates a token.

    At each position a continuous embedding is moved by the clipped gradient of the squared distance,
    its step decaying from 1.0 to 0.01; each step proposes the nearest row not tried yet, which is put on
    the embedding's place every 50 steps. One candidate a step; no state is kept between passes.
    """
    rows, tested = sample.decoder.embedding_matrix(), []
    exact = sum(
        _published(sample, rows, states, tested) == list(ids)
        for states, ids in zip(sample.states, sample.prompts, strict=True)
    )
    return exact, statistics.fmean(tested)


def _published(sample: Sample, rows: Tensor, states: Tensor, tested: list[int]) -> list[int]:
    found: list[int] = []
    for position, target in enumerate(states):
        eps = sample.eps[min(position, 1)]
        token, steps = _search(sample, rows, found, target, eps)
        tested.append(steps)
        if token is None:
            break
        found.append(token)
    return found


def _search(
    sample: Sample, rows: Tensor, before: list[int], target: Tensor, eps: float
) -> tuple[int | None, int]:
    decoder, layer = sample.decoder, sample.layer
    start, point = rows[before], rows.mean(dim=0)
    untried = torch.ones(len(rows), dtype=torch.bool)
    for step in range(len(rows)):
        point = point.detach().requires_grad_()
        inputs = torch.cat([start, point[None]])[None]
        state = decoder.states_from_embeddings(inputs, [layer])[layer][0, -1]
        loss = (state - target).square().sum() / 2
        (gradient,) = torch.autograd.grad(loss, point)
        gradient = gradient / max(1.0, float(gradient.norm()))
        point = (point - 0.01 ** (step / len(rows)) * gradient).detach()
        away = (rows - point).norm(dim=1).masked_fill(~untried, torch.inf)
        token = int(away.argmin())
        untried[token] = False
        candidate = decoder.states(torch.tensor([[*before, token]]), [layer])[layer][0, -1]
        if float((candidate.double() - target.double()).norm()) <= eps:
            return token, step + 1
        if (step + 1) % 50 == 0:
            point = rows[token]
    return None, len(rows)


def depths(decoder: Decoder) -> tuple[int, int, int]:
    """Layers 1, L/2 and L."""
    return 1, decoder.n_layers // 2, decoder.n_layers


def speed(shared: Shared, runs: int) -> None:
    """100 prompts of 20 tokens at layers 1, L/2, L, against the published algorithm on 5 of them."""
    rows = []
    for name in (*MODELS, SHIPPED):
        decoder = shared.decoder(name)
        prompts = shared.prompts(name, PROMPTS, TOKENS)
        for layer in depths(decoder):
            sample = Sample.of(decoder, layer, prompts)
            found = [by_lens(sample) for _ in range(runs)]
            ours = statistics.median(run.recovery for run in found) / PROMPTS
            calibration = statistics.median(run.calibration for run in found) / PROMPTS
            few = Sample(
                decoder,
                layer,
                [*prompts[: PUBLISHED_PROMPTS - 1], prompts[-1]],
                [*sample.states[: PUBLISHED_PROMPTS - 1], sample.states[-1]],
                sample.eps,
            )
            ids = torch.tensor(prompts)
            alone = cpu_seconds(lambda d=decoder, i=ids, w=layer: d.states(i, [w])) / PROMPTS
            told: list[tuple[int, float]] = []
            theirs = cpu_seconds(lambda s=few, t=told: t.append(published(s))) / PUBLISHED_PROMPTS
            ((exact, tested),) = told
            print(f"{name} {layer_id(layer)}: {theirs / ours:,.0f}x", flush=True)
            rows.append(
                (
                    f"{name} {layer_id(layer)}",
                    f"{found[0].exact}/{PROMPTS}",
                    f"{1e3 * ours:.1f} ms",
                    f"{1e3 * calibration:.1f} ms",
                    f"{1e3 * alone:.2f} ms",
                    f"{found[0].forwards:.2f}",
                    f"{found[0].first:.3f}",
                    f"{theirs:.2f} s",
                    f"{exact}/{PUBLISHED_PROMPTS}",
                    f"{tested:.1f}",
                    f"{theirs / ours:,.0f}x",
                    f"{theirs / (ours + calibration):,.0f}x",
                )
            )
    table(
        f"{PROMPTS} prompts of {TOKENS} tokens; CPU time a prompt",
        (
            "layer",
            "exact",
            "lens",
            "calibration",
            "one pass",
            "forwards/token",
            "first guess",
            "published",
            "exact",
            "candidates/token",
            "ratio",
            "with calibration",
        ),
        rows,
    )


def forwards(shared: Shared, runs: int) -> None:  # noqa: ARG001 - counts do not vary
    """Token-forwards a token at every layer of the shipped model, certificates apart."""
    decoder = shared.decoder(SHIPPED)
    prompts = shared.prompts(SHIPPED, PROMPTS, TOKENS)
    rows = []
    for layer in (0, *decoder.layers):
        run = by_lens(Sample.of(decoder, layer, prompts))
        rows.append(
            (
                layer_id(layer),
                f"{run.exact}/{PROMPTS}",
                f"{run.forwards:.2f}",
                f"{run.first:.3f}",
                f"{run.candidates:.2f}",
                f"{1e3 * run.recovery / PROMPTS:.1f} ms",
            )
        )
    table(
        f"{SHIPPED}, {PROMPTS} prompts of {TOKENS} tokens",
        ("layer", "exact", "forwards/token", "first guess", "candidates/token", "a prompt"),
        rows,
    )


def long(shared: Shared, runs: int) -> None:
    """Time a token of 200-token prompts against 20-token prompts, as many of them."""
    rows = []
    for name in ("stories260k-llama", "qwen3-1m"):
        decoder = shared.decoder(name)
        for layer in depths(decoder):
            each, told = {}, {}
            for length in (TOKENS, LONG):
                sample = Sample.of(decoder, layer, shared.prompts(name, LONG_PROMPTS, length))
                found = [by_lens(sample) for _ in range(runs)]
                seconds = statistics.median(run.recovery for run in found)
                each[length] = seconds / (LONG_PROMPTS * length)
                told[length] = f"{found[0].exact}/{LONG_PROMPTS}", f"{found[0].forwards:.2f}"
            rows.append(
                (
                    f"{name} {layer_id(layer)}",
                    *(f"{1e6 * each[length]:.0f} us" for length in each),
                    *(part for length in told for part in told[length]),
                    f"{each[LONG] / each[TOKENS]:.2f}",
                )
            )
    table(
        "time a token",
        ("layer", "20 tokens", "200 tokens", "exact", "forwards", "exact", "forwards", "ratio"),
        rows,
    )


def large(shared: Shared, runs: int) -> None:  # noqa: ARG001 - one run is long enough
    """Vocabularies of GPT-2 and Qwen on random weights: 4 prompts of 20 tokens, layers 1 and L/2."""
    rows = []
    for name, make in (("GPT-2-small", _gpt2_small), ("Qwen-0.5B", _qwen_half)):
        decoder = make()
        prompts = random_prompts(decoder, 16, TOKENS)
        for layer in depths(decoder)[:2]:
            # Of 4 prompts the floor is exceeded now and then, and the whole vocabulary is searched.
            sample = Sample.of(decoder, layer, prompts, noise=16).first(4)
            started = time.perf_counter()
            run = by_lens(sample)
            print(f"{name} {layer_id(layer)}: {time.perf_counter() - started:.0f} s", flush=True)
            rows.append(
                (
                    f"{name} shape, V = {decoder.vocab_size:,}, {layer_id(layer)}",
                    f"{run.exact}/{len(sample.prompts)}",
                    f"{run.calibration:.1f} s",
                    f"{run.recovery:.1f} s",
                    f"{run.forwards:.2f}",
                    f"{time.perf_counter() - started:.1f} s",
                    f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB",
                )
            )
        del decoder
    table(
        "random weights",
        ("model", "exact", "calibration", "recovery", "forwards/token", "wall", "peak so far"),
        rows,
    )


def precisions(shared: Shared, runs: int) -> None:  # noqa: ARG001 - rates do not vary
    """What an audit says of models that are not exact, read with the same model."""
    rows = []
    for name in MODELS[:2]:
        for settings in PRECISIONS:
            config = AuditConfig(
                model=str(shared.root / "models" / name),
                prompts=str(shared.root / "prompts" / "prompts-1k.jsonl"),
                overlong="drop",
                layers="1,2,4",
                no_cache=True,
                **settings,
            )
            audit = Audit(config)
            verdict = audit.check_sipit_recovers(min_rate=1e-9)
            for layer, reason in zip(audit.layers, verdict.reasons, strict=True):
                norm = audit.geometry(layer).mean_norm
                told = reason.figures
                rows.append(
                    (
                        f"{name} {' '.join(settings.values()) or 'float32'} {reason.where}",
                        f"{reason.value:.2f}",
                        f"{told['tokens_right']:.3f}",
                        f"{told['eps'] / norm:.1e}",
                        f"{told['ambiguous']} of {told['certified']}",
                        f"{told['candidates_per_token']:.1f}",
                        f"{told['forwards_per_token']:.1f}",
                    )
                )
    table(
        "20 prompts of 20 tokens, read with the same model",
        ("model", "prompts", "tokens", "eps / norm", "ambiguous", "candidates", "forwards"),
        rows,
    )


def _gpt2_small() -> Decoder:
    torch.manual_seed(0)
    return Decoder("gpt2-small (random weights)", GPT2LMHeadModel(GPT2Config()))


def _qwen_half() -> Decoder:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=151_936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    return Decoder("qwen-0.5b (random weights)", Qwen2ForCausalLM(config))


PARTS = {part.__name__: part for part in (speed, forwards, long, precisions, large)}


def main() -> None:
    """Run the parts named; all but the large vocabularies where none is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[], metavar="part")
    parser.add_argument("--shared", type=Path, required=True, help="the folder of shared models")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    shared = Shared(asked.shared)
    for name in asked.parts or [part for part in PARTS if part != "large"]:
        PARTS[name](shared, asked.runs)


if __name__ == "__main__":
    main()
