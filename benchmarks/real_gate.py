"""Collisions, margins and co-Lipschitz constants of all layers, beside the time of capture alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from machine import status
from real_tables import alone, markdown, minutes, told
from side_by_side import seconds

from pytest_injectivity import Audit, AuditConfig

MOST_OF_CAPTURE = 1.5
MOST_BYTES = 3e9
# Bounds that any model with distinct states meets: what is looked at is that a verdict is reached.
MARGIN = 1e-3
CONSTANT = 1e-5


@dataclass(frozen=True)
class Gate:
    """One gate from loading to its verdicts.

    Attributes:
        dtype: the dtype computed in.
        prompts, tokens, layers: how many.
        loading: seconds until model and prompts are there; not part of the gate.
        capture: seconds of the states of all layers.
        resolution: seconds of the resolution of all layers, with the distance to float64.
        collisions: seconds of `check_no_collisions` after these two: pairs found and decided.
        margins, constants: seconds of `check_margin_above` and `check_colipschitz_above`.
        peak: bytes of the process, loading included.
        verdicts: the first line of each verdict.
        passed: whether all of them are PASS.
    """

    dtype: str
    prompts: int
    tokens: int
    layers: int
    loading: float
    capture: float
    resolution: float
    collisions: float
    margins: float
    constants: float
    peak: int
    verdicts: tuple[str, ...]
    passed: bool

    @property
    def whole(self) -> float:
        """Seconds from the first state to the last verdict."""
        return self.capture + self.resolution + self.collisions + self.margins + self.constants

    @property
    def ratio(self) -> float:
        """The whole gate over capture alone."""
        return self.whole / self.capture

    @property
    def met(self) -> bool:
        """Whether the gate is green, and within the time and the memory it may take."""
        return self.passed and self.ratio <= MOST_OF_CAPTURE and self.peak < MOST_BYTES


def gate(model: Path, source: str, most: int, dtype: str) -> Gate:
    """Runs the gate in this process.

    Args:
        model: the checkpoint.
        source: of the prompts.
        most: how many of them.
        dtype: the dtype computed in.
    """
    audit = Audit(
        AuditConfig(
            model=str(model),
            prompts=source,
            max_prompts=most,
            overlong="drop",
            dtype=dtype,
            device="cpu",
            layers="all",
            no_cache=True,
        )
    )
    loading = seconds(lambda: (audit.decoder, audit.prompts))
    told(f"{dtype}: loading {loading:.1f} s, peak so far {_peak()}")
    last = audit.layers[-1]
    capture = seconds(lambda: audit.states(last))
    told(f"{dtype}: capture {capture:.1f} s, peak so far {_peak()}")
    resolution = seconds(lambda: audit.resolution(last))
    told(f"{dtype}: resolution {resolution:.1f} s, peak so far {_peak()}")
    collisions = seconds(audit.check_no_collisions)
    told(f"{dtype}: collisions {collisions:.1f} s, peak so far {_peak()}")
    margins = seconds(lambda: audit.check_margin_above(margin=MARGIN, normalized=True))
    constants = seconds(lambda: audit.check_colipschitz_above(alpha=CONSTANT, normalized=True))
    return Gate(
        dtype=dtype,
        prompts=len(audit.prompts),
        tokens=int(audit.prompts.lengths.sum()),
        layers=len(audit.layers),
        loading=loading,
        capture=capture,
        resolution=resolution,
        collisions=collisions,
        margins=margins,
        constants=constants,
        peak=status("VmHWM"),
        verdicts=tuple(verdict.first_line for verdict in audit.verdicts),
        passed=all(verdict.passed for verdict in audit.verdicts),
    )


def _peak() -> str:
    return f"{status('VmHWM') / 1e9:.2f} GB"


def gates(model: Path, source: str, most: int, dtypes: Sequence[str]) -> str:
    """The gate in each dtype, each in a process of its own, as a table."""
    found = []
    for dtype in dtypes:
        found.append(alone(gate, model, source, most, dtype))
        for line in found[-1].verdicts:
            told(f"{dtype}: {line}")
    one = found[0]
    title = (
        f"{model.name}, {one.prompts} prompts, {one.tokens} tokens, {one.layers} layers: the gate"
    )
    return markdown(title, COLUMNS, map(cells, found))


COLUMNS = (
    "dtype",
    "loading",
    "capture",
    "resolution (of capture)",
    "collisions",
    "margins",
    "co-Lipschitz",
    "whole gate",
    f"gate / capture (asked: {MOST_OF_CAPTURE})",
    f"peak memory (asked: under {MOST_BYTES / 1e9:.0f} GB)",
    "verdicts",
    "met",
)


def cells(one: Gate) -> tuple[str, ...]:
    """A row of the table."""
    share = one.resolution / one.capture
    return (
        one.dtype,
        minutes(one.loading),
        minutes(one.capture),
        f"{minutes(one.resolution)} ({100 * share:.0f} %)",
        minutes(one.collisions),
        minutes(one.margins),
        minutes(one.constants),
        minutes(one.whole),
        f"{one.ratio:.2f}",
        f"{one.peak / 1e9:.2f} GB",
        "green" if one.passed else f"red: {'; '.join(one.verdicts)}",
        "yes" if one.met else "no",
    )
