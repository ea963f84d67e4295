"""SipIt's lens against the published algorithm, side by side in one process.

    ./dev bench sipit --shared ../shared                   # everything but large vocabularies
    ./dev bench sipit --shared ../shared speed forwards    # parts by name
    ./dev bench sipit --shared ../shared large             # V = 50,257 and 151,936, many minutes

Prompts: nine of ten are text, one of ten random tokens. Observed are the states of every position,
tolerances are the radius of a sample's resolution, as an audit takes them. Times are CPU times of this
process on one thread, so that a busy machine does not change a ratio. "calibration" holds everything
done once a layer: the lens and the table of the first position.
"""

import argparse
import os
import resource
import statistics
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from published_sipit import published
from side_by_side import table
from sipit_samples import SHIPPED, Sample, SharedPrompts, by_lens, cpu_seconds, random_prompts
from transformers import GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.core.layers import layer_id
from pytest_injectivity.models.decoder import Decoder

MODELS = ("gpt2-1m", "qwen3-1m", "stories260k-llama")
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
PROMPTS = 100
TOKENS = 20
LONG = 200
PUBLISHED_PROMPTS = 5
LONG_PROMPTS = 50


def depths(decoder: Decoder) -> tuple[int, int, int]:
    """Layers 1, L/2 and L."""
    return 1, decoder.n_layers // 2, decoder.n_layers


def speed(shared: SharedPrompts, runs: int) -> None:
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
            few = replace(
                sample,
                prompts=[*prompts[: PUBLISHED_PROMPTS - 1], prompts[-1]],
                states=[*sample.states[: PUBLISHED_PROMPTS - 1], sample.states[-1]],
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


def forwards(shared: SharedPrompts, runs: int) -> None:  # noqa: ARG001 - counts do not vary
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


def long(shared: SharedPrompts, runs: int) -> None:
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


def large(shared: SharedPrompts, runs: int) -> None:  # noqa: ARG001 - one run is long enough
    """Vocabularies of GPT-2 and Qwen on random weights: 4 prompts of 20 tokens, layers 1 and L/2."""
    rows = []
    for name, make in (("GPT-2-small", _gpt2_small), ("Qwen-0.5B", _qwen_half)):
        decoder = make()
        prompts = random_prompts(decoder, 16, TOKENS)
        for layer in depths(decoder)[:2]:
            # Of 4 prompts the floor is exceeded now and then, and the whole vocabulary is searched.
            sample = Sample.of(decoder, layer, prompts).first(4)
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


def precisions(shared: SharedPrompts, runs: int) -> None:  # noqa: ARG001 - rates do not vary
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
    shared = SharedPrompts(asked.shared)
    for name in asked.parts or [part for part in PARTS if part != "large"]:
        PARTS[name](shared, asked.runs)


if __name__ == "__main__":
    main()
