"""SipIt with the defaults of its gate on a real model, layer by layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from real_tables import alone, markdown, minutes, told
from side_by_side import seconds

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.results.verdict import Verdict

MOST_SECONDS = 600.0


@dataclass(frozen=True)
class Inverted:
    """The gate of one layer.

    Attributes:
        dtype: the dtype computed in.
        layer: the layer inverted.
        words: what the verdict says of it.
        passed: whether it is PASS.
        tokens: the share of tokens that are right.
        first: the share of searched tokens that were the first candidate.
        certified, ambiguous: positions passed over the whole vocabulary, and how many had a rival.
        resolution: seconds of the resolution of all layers named, shared by them.
        taken: seconds of the check after it.
    """

    dtype: str
    layer: int
    words: str
    passed: bool
    tokens: float
    first: float
    certified: int
    ambiguous: int
    resolution: float
    taken: float

    @property
    def met(self) -> bool:
        """Whether all prompts came back in the time a layer may take, with everything."""
        return self.passed and self.resolution + self.taken < MOST_SECONDS


def inverted(
    model: Path, source: str, dtype: str, layers: Sequence[int], certify: int | None
) -> list[Inverted]:
    """Inverts the sample of prompts at each layer, in this process.

    Args:
        model: the checkpoint.
        source: of the prompts.
        dtype: the dtype computed in.
        layers: the layers.
        certify: positions certified a layer; None: as the check does.
    """
    audit = Audit(
        AuditConfig(
            model=str(model),
            prompts=source,
            overlong="drop",
            dtype=dtype,
            device="cpu",
            layers=",".join(map(str, layers)),
            no_cache=True,
        )
    )
    _ = audit.decoder, audit.prompts
    capture = seconds(lambda: audit.states(layers[-1]))
    resolution = seconds(lambda: audit.resolution(layers[-1]))
    told(f"{dtype}: states {capture:.1f} s, resolution {resolution:.1f} s")
    settings = {} if certify is None else {"certify": certify}
    found = []
    for layer in layers:
        verdicts: list[Verdict] = []
        taken = seconds(
            lambda w=layer, v=verdicts: v.append(audit.check_sipit_recovers(w, **settings))
        )
        (verdict,) = verdicts
        told(f"{dtype} layer {layer}: {taken:.0f} s: {verdict.text}")
        (reason,) = verdict.reasons
        figures = reason.figures
        found.append(
            Inverted(
                dtype=dtype,
                layer=layer,
                words=reason.headline,
                passed=verdict.passed,
                tokens=figures["tokens_right"],
                first=figures.get("first_guess_right", float("nan")),
                certified=int(figures["certified"]),
                ambiguous=int(figures["ambiguous"]),
                resolution=resolution,
                taken=taken,
            )
        )
    return found


COLUMNS = (
    "dtype, layer",
    "verdict",
    "tokens right",
    "first candidate right",
    "certified",
    "ambiguous",
    "resolution, all layers",
    "the check",
    f"met (green, under {MOST_SECONDS / 60:.0f} min)",
)


def inversions(
    model: Path,
    source: str,
    dtypes: Sequence[str],
    layers: Sequence[int],
    certify: int | None = None,
) -> str:
    """The gate of each layer in each dtype, each dtype in a process of its own, as a table."""
    found = [
        one for dtype in dtypes for one in alone(inverted, model, source, dtype, layers, certify)
    ]
    how = "defaults" if certify is None else f"certify={certify}"
    return markdown(f"{model.name}: `assert_sipit_recovers`, {how}", COLUMNS, map(cells, found))


def cells(one: Inverted) -> tuple[str, ...]:
    """A row of the table."""
    return (
        f"{one.dtype}, {one.layer}",
        one.words,
        f"{one.tokens:.4f}",
        f"{one.first:.3f}",
        f"{one.certified}",
        f"{one.ambiguous}",
        minutes(one.resolution),
        minutes(one.taken),
        "yes" if one.met else "no",
    )
