"""The gate against the parent on a real model: sound children, the published file, a damaged child."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from real_tables import markdown, minutes, told
from side_by_side import seconds

from pytest_injectivity import Audit, AuditConfig, load_decoder
from pytest_injectivity.errors import InjectivityError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.results.summary import Comparison
from pytest_injectivity.results.verdict import Verdict
from pytest_injectivity.testing import save_checkpoint

COLUMNS = (
    "child",
    "weights, worst",
    "block error, worst",
    "drift 99 %, worst",
    "KL",
    "KL 99 %",
    "top-1",
    "margin kept",
    "seconds",
    "verdicts",
)
_DRIFT = 0.7
_KL, _TOP1 = 0.5, 0.6
_KEPT = 0.4
DAMAGED = (15, "mlp.down_proj")
"""The block, from 1, and the part that is 1.5 times too large in the damaged child."""


@dataclass(frozen=True)
class Child:
    """A child of the parent's folder.

    Attributes:
        name: in the table.
        source: the checkpoint; None: the parent's folder.
        config: how it is loaded.
    """

    name: str
    source: Path | None
    config: dict[str, str]


def children(model: Path, source: str, most: int, dtype: str, names: Sequence[str]) -> str:
    """Each child against the model's weights in a folder of bfloat16, as a table.

    Args:
        model: the published file.
        source: of the prompts.
        most: how many of them.
        dtype: what children made from the parent compute in.
        names: of the children that are wanted, as in the table up to a comma; none named: all.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parent = save_checkpoint(
            load_decoder(str(model), device="cpu", dtype="bfloat16"), folder / "parent"
        )
        damaged = save_checkpoint(
            _damage(load_decoder(str(parent), device="cpu")), folder / "damaged"
        )
        rows = []
        for child in (
            Child("nf4", None, {"quantization": "bnb-nf4", "dtype": dtype}),
            Child("int4 in groups", None, {"quantization": "torchao-int4", "dtype": dtype}),
            Child("int8", None, {"quantization": "torchao-int8", "dtype": dtype}),
            Child("the published file, float32", model, {"dtype": "float32"}),
            Child("the published file, bfloat16", model, {"dtype": "bfloat16"}),
            Child(
                f"damaged, nf4 with {DAMAGED[1]} of block {DAMAGED[0]} x1.5",
                damaged,
                {"quantization": "bnb-nf4", "dtype": dtype},
            ),
        ):
            if names and child.name.partition(",")[0] not in names:
                continue
            audit = Audit(
                AuditConfig(
                    model=str(child.source or parent),
                    reference=str(parent),
                    prompts=source,
                    max_prompts=most,
                    overlong="drop",
                    device="cpu",
                    cache_dir=str(folder / "store"),
                    **child.config,
                )
            )
            rows.append(_row(child.name, audit))
            told(" | ".join(rows[-1]))
    title = f"{model.name}, {most} prompts: children in {dtype} against the parent in bfloat16"
    return markdown(title, COLUMNS, rows)


def _damage(decoder: Decoder) -> Decoder:
    block, part = DAMAGED
    decoder.parts.blocks[block - 1].get_submodule(part).weight.mul_(1.5)
    return decoder


def _checks(audit: Audit) -> Iterator[Callable[[], Verdict]]:
    yield audit.check_same_function
    yield audit.check_weight_error_below
    yield audit.check_block_error_below
    yield lambda: audit.check_state_drift_below(relative=_DRIFT)
    yield lambda: audit.check_next_token_kept(kl=_KL, top1=_TOP1)
    yield audit.check_no_new_collisions
    yield lambda: audit.check_margin_retained(fraction=_KEPT)


def _row(name: str, audit: Audit) -> tuple[str, ...]:
    verdicts: list[Verdict] = []
    try:
        took = seconds(lambda: verdicts.extend(check() for check in _checks(audit)))
    except InjectivityError as error:
        return (name, *[""] * (len(COLUMNS) - 2), f"refused: {str(error)[:160]}")
    layers = [audit.comparison(layer) for layer in audit.compared]
    red = [verdict for verdict in verdicts if not verdict.passed]
    said = [verdict.first_line for verdict in red]
    said += {note for verdict in red for note in verdict.notes if note.startswith("blame")}
    found = audit.comparisons.measured_next_token
    tokens = [found.kl.value, found.kl_q99.value, found.top1.value] if found else [None] * 3
    return (
        name,
        *_worst(layers),
        *("" if one is None else f"{one:.4g}" for one in tokens),
        _range(layers),
        minutes(took),
        "green" if not red else "; ".join(said),
    )


def _worst(layers: Sequence[Comparison]) -> Iterator[str]:
    for read in (
        lambda one: one.weight_error,
        lambda one: one.block_error,
        lambda one: one.drift_q99,
    ):
        found = [(value, one.layer) for one in layers if (value := read(one)) is not None]
        yield "{0[0]:.3g} at {0[1]}".format(max(found)) if found else ""


def _range(layers: Sequence[Comparison]) -> str:
    found = [
        one.margin.value
        for one in layers
        if one.margin is not None and one.margin.value is not None
    ]
    return f"{min(found):.2f} to {max(found):.2f}" if found else ""
