"""The quotient of [VS] on checkpoints (SPEC section 3), for ``./dev bench theory symmetry MODELS``.

Each model is rewritten by changes that leave its function: heads and hidden units in another order,
factors moved between weights, the residual stream rotated. The copy is audited as a child of the model:
the first table has how far its numbers are from the model's, in true float64 and as deployed, the second
what each check of the release gate says of it.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from real_tables import markdown, told
from torch import Tensor

from pytest_injectivity import Audit, AuditConfig, Verdict
from pytest_injectivity.audit.comparisons.basis import basis_of
from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.testing import save_checkpoint
from tests.symmetries import Symmetry, symmetries_of

NUMBERS = ("margin", "margin_q", "colipschitz_q", "mean_norm")
GATE: dict[str, dict[str, Any]] = {
    "same_function": {},
    "weight_error_below": {},
    "block_error_below": {},
    "state_drift_below": {"relative": 1e-3},
    "margin_retained": {"fraction": 0.999},
    "colipschitz_retained": {"fraction": 0.999},
    "no_new_collisions": {},
    "next_token_kept": {"kl": 1e-6, "top1": 0.999},
}
"""The checks of the gate, as they would judge a copy in full precision."""


def add_symmetry(parts: Any) -> None:
    """Add the subcommand."""
    one = parts.add_parser("symmetry", description=__doc__.partition("\n")[0])
    one.add_argument("models", nargs="+", help="folders or .gguf files, like GPT-2 or like Llama")
    one.add_argument("--prompts", type=int, default=100)
    one.add_argument("--length", type=int, default=16, help="tokens of each")
    one.add_argument("--layers", default="all")
    one.set_defaults(run=symmetry)


def symmetry(given: argparse.Namespace) -> None:
    """Measure, and print the tables in Markdown."""
    numbers, gate = [], []
    for model in given.models:
        for name, change in symmetries_of(load_decoder(model, device="cpu")).items():
            with tempfile.TemporaryDirectory() as folder:
                audit = _audit(model, change, Path(folder), given)
                numbers.append((Path(model).name, name, *_numbers(audit, model, change)))
                gate.append((Path(model).name, name, *_gate(audit)))
                told(f"{' '.join(numbers[-1])}; {'; '.join(gate[-1])}")
    title = f"{given.prompts} prompts of {given.length} tokens"
    columns = ("model", "change", "distances, float64", *NUMBERS, "basis")
    print(markdown(f"Numbers of the copy over the model's, less one; {title}", columns, numbers))
    print(markdown(f"The gate on the copy; {title}", ("model", "change", *GATE), gate))


def _audit(model: str, change: Symmetry, folder: Path, given: argparse.Namespace) -> Audit:
    save_checkpoint(change(load_decoder(model, dtype="float32", device="cpu")), folder / "copy")
    return Audit(
        AuditConfig(
            model=str(folder / "copy"),
            reference=model,
            length=given.length,
            max_prompts=given.prompts,
            layers=given.layers,
            dtype="float32",
            device="cpu",
            cache_dir=str(folder / "store"),
        )
    )


def _numbers(audit: Audit, model: str, change: Symmetry) -> Iterator[str]:
    """The largest difference of a distance in float64, of numbers as deployed, and the basis found."""
    against = audit.comparisons.against
    layers = audit.target.layers
    blocks = [one for one in layers if one != "norm"]
    exact = load_decoder(model, dtype="float32", device="cpu").as_float64()
    before = _distances(exact, audit.prompts.ids, blocks)
    after = _distances(change(exact), audit.prompts.ids, blocks)
    pairs = zip(after, before, strict=True)
    yield f"{max(float((one / two - 1).abs().max()) for one, two in pairs):.0e}"
    own, parents = (
        [one.layer_summary(layer) for layer in blocks]
        for one in (audit.measurements, against.parent)
    )
    for name in NUMBERS:
        shares = [one[name] / other[name] for one, other in zip(own, parents, strict=True)]
        yield f"{max(abs(share - 1) for share in shares):.0e}"
    kinds: dict[str, list[str]] = {}
    for layer in layers:
        kinds.setdefault(str(basis_of(against, layer).kind), []).append(layer_id(layer))
    yield "; ".join(
        kind if len(some) == len(layers) else f"{kind}: {', '.join(some)}"
        for kind, some in kinds.items()
    )


def _distances(
    decoder: Decoder, prompts: Sequence[Sequence[int]], layers: Sequence[Layer]
) -> list[Tensor]:
    ids = torch.tensor(list(map(list, prompts)))
    last = torch.full((len(ids),), ids.shape[1] - 1)
    states = decoder.states(ids, layers, positions=last)
    return [torch.pdist(states[layer]) for layer in layers]


def _gate(audit: Audit) -> Iterator[str]:
    for check, arguments in GATE.items():
        verdict: Verdict = getattr(audit, f"check_{check}")(**arguments)
        failing = [one.where for one in verdict.failing]
        more = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
        yield f"{verdict.status}" + (f" ({failing[0]}{more})" if failing else "")
