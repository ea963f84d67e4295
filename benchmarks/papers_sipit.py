"""SipIt on models in 4 bits ([N] table 4) and on prompts of 100 tokens ([N] table 7).

For ``./dev bench papers sipit MODELS``: with ``--kinds`` quantized, with ``--tokens 100`` long. Prompts
are windows of ``builtin:stdlib`` and, one of ten, random tokens. States are those of the same model,
quantized where it is. Times are processor times a prompt, with all that prompts share.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from papers_weights import parent
from quantized import children, said
from real_tables import markdown, told
from sipit_samples import Sample, by_lens, random_prompts

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.errors import InjectivityError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.loading import load_decoder

COLUMNS = (
    "model, layer",
    "recovered exactly",
    "every position verified",
    "processor time a prompt",
    "first candidate right",
    "candidates a token",
    "tokens run a token",
)
AS_IT_IS = "as-it-is"


def add_sipit(parts: Any) -> None:
    """Add the subcommand."""
    one = parts.add_parser("sipit", description=__doc__.partition("\n")[0])
    one.add_argument("models", nargs="+", type=Path, help="folders or .gguf files")
    one.add_argument("--kinds", default=AS_IT_IS, help="how it is quantized: bnb-fp4,torchao-int4")
    one.add_argument("--prompts", type=int, default=50)
    one.add_argument("--tokens", type=int, default=10, help="of each prompt")
    one.add_argument("--layers", help="such as 1,15,30; default: 1, L/2 and L")
    one.set_defaults(run=inversion)


def inversion(given: argparse.Namespace) -> None:
    """Invert, and print the table in Markdown."""
    rows = []
    for model in given.models:
        with tempfile.TemporaryDirectory() as folder:
            for kind, decoder in _decoders(model, given.kinds.split(","), Path(folder)):
                prompts = _prompts(model, decoder, given.prompts, given.tokens)
                for layer in _layers(decoder, given.layers):
                    name = f"{model.name}, {kind}, {layer}"
                    rows.append((name, *_inverted(decoder, layer, prompts)))
                    told(" ".join(rows[-1]))
    title = f"{given.prompts} prompts of {given.tokens} tokens, float32"
    print(markdown(title, COLUMNS, rows))


def _decoders(model: Path, kinds: list[str], folder: Path) -> Iterator[tuple[str, Decoder]]:
    if AS_IT_IS in kinds:
        yield AS_IT_IS, load_decoder(str(model), dtype="float32", device="cpu")
    made = [kind for kind in kinds if kind != AS_IT_IS]
    bare = parent(model, folder / "parent") if made else model
    for kind, path, reason in children(bare, made, folder):
        if path is None:
            told(f"{model.name}, {kind}: {reason}")
            continue
        try:
            yield kind, load_decoder(str(path), dtype="float32", device="cpu")
        except InjectivityError as error:
            told(f"{model.name}, {kind}: {said(error, folder)}")


def _prompts(model: Path, decoder: Decoder, count: int, length: int) -> list[tuple[int, ...]]:
    drawn = random_prompts(decoder, max(1, count // 10), length)
    text = count - len(drawn)
    # Of the model itself, because a child may have no tokenizer.
    audit = Audit(AuditConfig(model=str(model), length=length, max_prompts=text, no_cache=True))
    return [*audit.prompts.ids, *drawn]


def _layers(decoder: Decoder, asked: str | None) -> list[int]:
    if asked:
        return [int(one) for one in asked.split(",")]
    return sorted({1, decoder.n_layers // 2, decoder.n_layers})


def _inverted(decoder: Decoder, layer: int, prompts: list[tuple[int, ...]]) -> Iterator[str]:
    run = by_lens(Sample.of(decoder, layer, prompts))
    yield f"{run.exact} of {len(prompts)}"
    yield f"{run.verified} of {len(prompts)}"
    yield f"{(run.calibration + run.recovery) / len(prompts):.3g} s"
    yield f"{run.first:.3f}"
    yield f"{run.candidates:.1f}"
    yield f"{run.forwards:.2f}"
