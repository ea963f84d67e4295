"""The numbers of a run as a file keeps them: a saved JSON report, or a baseline in git.

Either may come from anybody and may have been edited by hand or by a merge, so every value is checked
before anything is made of it. Neither holds a prompt or a token id, nor a baseline a path.

Standard library only: comparing saved runs loads no torch.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pytest_injectivity.core import strict_json as strict
from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import OptionError
from pytest_injectivity.reports import json as jsonfile
from pytest_injectivity.results.changes import Numbers, recorded_names
from pytest_injectivity.results.metrics import flat, metric_of, recorded
from pytest_injectivity.results.summary import LayerSummary

SCHEMA = 1
"""Of baselines: raised when a field changes its meaning or goes."""
RESOLUTION = 1e-5
"""A baseline keeps six significant digits: a smaller share of a number is no difference."""
SAME = ("n", "prompt_hash", "prompt_metric", "special_tokens", "seed")
"""What must be equal for numbers to be compared at all (SPEC section 2, "Intervals")."""

_TOOL = "pytest-injectivity"
_BASELINE = "baseline"
_DIGITS = 6
_LABEL = re.compile(r"(layer\d{2,6}|norm)( rounded to [ -~]{1,60})?", re.ASCII)
_RUNG = re.compile(r"\d{1,6}(\.\d{1,9})?(e[+-]\d{1,3})?", re.ASCII)
_ACCEPTED = "give a report of --injx-report=json:PATH, or a baseline"


@dataclass(frozen=True)
class Stamp:
    """What the numbers of a run belong to.

    Attributes:
        model: its name; in a baseline never a path.
        dtype, device: what it computed in, and where.
        family, n_layers, hidden, vocab: of the model.
        prompts, n, prompt_hash, special_tokens: of the prompt set.
        prompt_metric: ``d_S``.
        seed: of everything random.
        revision: the commit of a hub id.
        quantized: how the weights were rounded, such as ``bnb-nf4``; None for full precision.
        activations: the grid that activations are rounded to as the model runs; None where none is.
        versions: of the packages that computed the numbers.
    """

    model: str
    dtype: str
    device: str
    family: str
    n_layers: int
    hidden: int
    vocab: int
    prompts: str
    n: int
    prompt_hash: str
    special_tokens: bool
    prompt_metric: str
    seed: int
    revision: str | None = None
    quantized: str | None = None
    activations: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "Stamp":
        """The stamp in the plain data of a `RunSummary` or a baseline; other fields are left out.

        Raises:
            OptionError: a field is missing or of another type.
        """
        return cls(**{name: read(name, plain.get(name)) for name, read in _FIELDS.items()})

    def differences(self, other: "Stamp", names: Sequence[str]) -> list[tuple[str, str, str]]:
        """Of the fields named those that differ: name, value here, value there, short texts."""
        return [
            (name, _shortened(getattr(self, name)), _shortened(getattr(other, name)))
            for name in names
            if getattr(self, name) != getattr(other, name)
        ]


@dataclass(frozen=True)
class Recorded:
    """The numbers of a run.

    Attributes:
        stamp: what they belong to.
        layers: by label, ``layer04`` or ``layer04 rounded to 4``.
        baseline: whether they come from a baseline, and not from a report.
    """

    stamp: Stamp
    layers: Mapping[str, Numbers]
    baseline: bool = False

    @property
    def resolution(self) -> float:
        """The share of itself to which a number is known."""
        return RESOLUTION if self.baseline else 0.0


def read_recorded(path: Path) -> Recorded:
    """A saved report or a baseline.

    Raises:
        OptionError: there is no such file, or it is damaged or of something else.
    """
    try:
        return _recorded(strict.read_object(path))
    except OptionError as error:
        raise OptionError(f"{one_line(str(path))}: {error}: {_ACCEPTED}") from None


def read_baseline(path: Path) -> Recorded | None:
    """The baseline in a file; None where there is no file.

    Raises:
        OptionError: the file is damaged, or holds something else.
    """
    if not path.exists():
        return None
    recorded = read_recorded(path)
    if not recorded.baseline:
        raise OptionError(f"{one_line(str(path))}: it is the report of a run and no baseline")
    return recorded


def baseline_text(recorded: Recorded) -> str:
    """The file of a baseline: sorted, one number a line."""
    plain = {
        "schema": SCHEMA,
        "tool": _TOOL,
        "kind": _BASELINE,
        "audited": asdict(recorded.stamp),
        "layers": {label: dict(numbers) for label, numbers in recorded.layers.items()},
    }
    return json.dumps(plain, indent=1, sort_keys=True, allow_nan=False) + "\n"


def label_of(layer: str, bits: object) -> str:
    """``layer04``, or ``layer04 rounded to 4`` of activations rounded after capture."""
    return layer if bits is None else f"{layer} rounded to {bits}"


def numbers_of(layer: LayerSummary) -> dict[str, float]:
    """The numbers of a layer that are recorded; those that were not measured are left out.

    A metric with rungs has a number for each, ``near_fractions 0.01``.
    """
    return flat({name: layer.numbers[name] for name in recorded_names()})


def rounded(numbers: Numbers) -> dict[str, float]:
    """The numbers with the digits that a baseline keeps; counts are kept as they are."""
    return {
        name: value if isinstance(value, int) else float(f"{value:.{_DIGITS}g}")
        for name, value in numbers.items()
    }


def _recorded(plain: Mapping[str, Any]) -> Recorded:
    if plain.get("tool") != _TOOL:
        raise OptionError(f"it was not written by {_TOOL}")
    return _baseline(plain) if plain.get("kind") == _BASELINE else _report(plain)


def _report(plain: Mapping[str, Any]) -> Recorded:
    _check_schema(plain, jsonfile.SCHEMA)
    if plain.get("complete") is not True:
        raise OptionError("the run lost a worker and is not complete")
    if plain.get("run") is None:
        raise OptionError("the run measured nothing")
    layers: dict[str, Numbers] = {}
    rows = plain.get("layers")
    if not isinstance(rows, list):
        raise OptionError(f"layers is {strict.said(rows)}, which is no list")
    for row in rows:
        layer = strict.mapping("an entry of layers", row)
        name, bits = strict.text("layer", layer.get("layer")), layer.get("bits")
        if bits is not None and (isinstance(bits, bool) or not isinstance(bits, int | str)):
            raise OptionError(f"bits of {name} is {strict.said(bits)}, which is no grid")
        label = _label(label_of(name, bits if isinstance(bits, str | None) else strict.said(bits)))
        if label in layers:
            raise OptionError(f"{label} is there twice")
        layers[label] = _of_layer(label, _flat, layer)
    return Recorded(Stamp.of(strict.mapping("run", plain["run"])), layers)


def _baseline(plain: Mapping[str, Any]) -> Recorded:
    _check_schema(plain, SCHEMA)
    layers = {
        _label(label): _of_layer(label, dict, strict.mapping(one_line(label), numbers))
        for label, numbers in strict.mapping("layers", plain.get("layers")).items()
    }
    stamp = Stamp.of(strict.mapping("audited", plain.get("audited")))
    return Recorded(stamp, layers, baseline=True)


def _check_schema(plain: Mapping[str, Any], accepted: int) -> None:
    schema = plain.get("schema")
    if isinstance(schema, bool) or schema != accepted:
        raise OptionError(
            f"it has schema {strict.said(schema)}, and this version reads schema {accepted}"
        )


def _label(label: str) -> str:
    if _LABEL.fullmatch(label):
        return label
    raise OptionError(f"{strict.said(label)} is no layer, such as layer04 or norm")


def _of_layer(
    label: str, flat: Callable[[Mapping[str, Any]], dict[str, Any]], layer: Mapping[str, Any]
) -> dict[str, float]:
    try:
        return _numbers(flat(layer))
    except OptionError as error:
        raise OptionError(f"{label}: {error}") from None


def _flat(layer: Mapping[str, Any]) -> dict[str, Any]:
    plain = {one.name: layer.get(one.name) for one in recorded() if not one.rungs}
    for one in recorded():
        if one.rungs and (given := layer.get(one.name)) is not None:
            rungs = strict.mapping(one.name, given)
            plain |= {f"{one.name} {rung}": share for rung, share in rungs.items()}
    return plain


def _numbers(flat: Mapping[str, Any]) -> dict[str, float]:
    for name in flat:
        metric, gap, rung = name.partition(" ")
        if metric not in recorded_names() or (gap and not _RUNG.fullmatch(rung)):
            raise OptionError(
                f"{strict.said(name)} is no number of a layer: {', '.join(recorded_names())} are"
            )
        metric_of(name)
    return {name: strict.number(name, value) for name, value in flat.items() if value is not None}


def _kind(name: str, value: object) -> str | None:
    """How weights are rounded: a report says more of it than a baseline, which has the kind alone."""
    return strict.text_or_none(name, value.get("kind") if isinstance(value, dict) else value)


def _grid(name: str, value: object) -> str | None:
    """How activations are rounded, likewise."""
    return (
        strict.text_or_none(name, value.get("grid") if isinstance(value, dict) else value) or None
    )


def _shortened(value: object) -> str:
    """A value as messages show it: twelve digits say which hash it is."""
    shown = "none" if value is None else str(value)
    hexadecimal = re.fullmatch(r"[0-9a-f]{40,}", shown)
    return shown[:12] if hexadecimal else shown


_FIELDS: Mapping[str, Callable[[str, object], Any]] = {
    "model": strict.text,
    "dtype": strict.text,
    "device": strict.text,
    "family": strict.text,
    "n_layers": strict.whole,
    "hidden": strict.whole,
    "vocab": strict.whole,
    "prompts": strict.text,
    "n": strict.whole,
    "prompt_hash": strict.text,
    "special_tokens": strict.truth,
    "prompt_metric": strict.text,
    "seed": strict.whole,
    "revision": strict.text_or_none,
    "quantized": _kind,
    "activations": _grid,
    "versions": strict.texts,
}
