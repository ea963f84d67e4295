"""Baseline files: the numbers of layers, recorded in git and compared with those measured now.

The check ``matches_baseline`` compares. With ``--injx-update-baseline`` it measures the same numbers and
compares nothing, and at the end of an otherwise green run `Baseline.update` writes them. Nothing is
written in any other case: a missing baseline fails.
"""

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from pytest_injectivity.audit.measurements.measurements import Measurements
from pytest_injectivity.core.files import write_whole
from pytest_injectivity.core.text import number_of
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.changes import (
    Change,
    Fate,
    Numbers,
    Shares,
    changes,
    label_depth,
    recorded_names,
)
from pytest_injectivity.results.saved_runs import (
    SAME,
    Recorded,
    Stamp,
    baseline_text,
    read_baseline,
    rounded,
)
from pytest_injectivity.results.summary import RunSummary

_SAME = (*SAME, "dtype", "quantized", "activations", "family", "n_layers", "hidden", "vocab")
_NOTED = ("device", "revision", "versions")
_SUFFIX = ".json"
_LONGEST = 60
_HASH = 8


class Baseline:
    """The baseline of an audit: the numbers recorded in a file, and those measured to be recorded.

    Args:
        measurements: the measurements of the model.
        run_summary: returns the summary of what is audited.

    Attributes:
        to_record: what ``matches_baseline`` has measured for `update`, by the layer's label.
    """

    def __init__(self, measurements: Measurements, run_summary: Callable[[], RunSummary]) -> None:
        self._target = measurements.target
        self._run_summary = run_summary
        self.to_record: dict[str, Numbers] = {}

    @cached_property
    def path(self) -> Path:
        """The file of this audit's baseline: in the folder that the config names, or that file.

        Raises:
            OptionError: the config names none.
        """
        self._target.use("baseline")
        if self._target.config.baseline is None:
            raise OptionError(
                "no baseline is named: give --injx-baseline=DIR, or AuditConfig(baseline=DIR)"
            )
        named = Path(self._target.config.baseline).expanduser()
        return named if named.suffix == _SUFFIX else named / file_name(self.stamp)

    @cached_property
    def stamp(self) -> Stamp:
        """The stamp of this audit's baseline, which says what its numbers belong to."""
        stamp = Stamp.of(self._run_summary())
        return replace(
            stamp, model=model_name(self._target.config.model), prompts=_no_path(stamp.prompts)
        )

    def update(self) -> tuple[str, ...]:
        """Write what was measured into the baseline; the file is replaced whole.

        Layers that the file has and that were not measured keep their numbers, so that a run of some of
        the tests takes nothing away.

        Returns:
            Sentences on what is new in it, and on what was kept.

        Raises:
            OptionError: nothing was measured for it, a number is not finite, the file that is there
                is no baseline, or it has layers that were not measured and numbers of another N, prompt
                set, metric, seed, dtype or model.
            OSError: the file cannot be written.
        """
        if not self.to_record:
            raise OptionError(
                "no baseline is written: no test asked for assert_matches_baseline with"
                " --injx-update-baseline"
            )
        path = self.path
        measured = {one: rounded(numbers) for one, numbers in self.to_record.items()}
        old = read_baseline(path)
        kept = {} if old is None else {k: v for k, v in old.layers.items() if k not in measured}
        if old is not None and kept:
            self._check_mixed(path, old, sorted(kept, key=label_depth))
        layers = {**kept, **measured}
        new = Recorded(self.stamp, {one: layers[one] for one in sorted(layers, key=label_depth)})
        try:
            text = baseline_text(new)
        except OptionError as error:
            raise OptionError(f"{path} is not written: {error}") from None
        write_whole(path, text)
        return _news(path, old, new, sorted(measured, key=label_depth))

    def _check_mixed(self, path: Path, old: Recorded, kept: Sequence[str]) -> None:
        """Refuse to put numbers of other prompts or another model beside those that are kept."""
        if differing := old.stamp.differences(self.stamp, _SAME):
            what = "; ".join(f"{name} {was}, here {here}" for name, was, here in differing)
            raise OptionError(
                f"{path} was recorded with {what}, and this run did not measure {', '.join(kept)} of it:"
                " numbers of both kinds do not go into one file; run all tests, or remove the file"
            )

    @cached_property
    def recorded(self) -> Recorded | None:
        """The recorded numbers of this audit; None where there is no baseline file."""
        path = self.path
        recorded = read_baseline(path)
        if recorded is None:
            return None
        # A baseline that is named as a file serves any checkpoint, so its model may differ.
        named = () if path.name != file_name(self.stamp) else ("model",)
        differing = recorded.stamp.differences(self.stamp, (*named, *_SAME))
        if differing:
            what = "; ".join(f"{name} {was}, here {here}" for name, was, here in differing)
            raise OptionError(
                f"--injx-baseline: {path} was recorded with {what}: only numbers of the same prompts,"
                " metric, dtype and model are compared; audit what was recorded, name another folder"
                " or file, or record again with --injx-update-baseline"
            )
        return recorded


def model_name(source: str) -> str:
    """A model's name without its place: a folder's or file's name, a hub id, ``builtin:…``."""
    path = Path(source).expanduser()
    if source.startswith("builtin:") or not path.exists():
        return source.partition("@")[0]
    return Path(os.path.abspath(path)).name  # noqa: PTH100 - a link's own name is the stable one


def file_name(stamp: Stamp) -> str:
    """The file name of a baseline, such as ``gpt2-xl--bnb-nf4--prompts.jsonl.json``.

    It names model, rounding and prompts in lower-case ASCII letters, digits, ``.``, ``_`` and ``-``,
    so that no name leaves the folder and no two names differ only in their case.
    """
    rounded = None if stamp.activations is None else f"activations {stamp.activations}"
    parts = (stamp.model, stamp.quantized, rounded, stamp.prompts)
    return "--".join(_slug(part) for part in parts if part is not None) + _SUFFIX


def _slug(name: str) -> str:
    kept = re.sub(r"[^a-z0-9._]+", "-", name.lower()).strip("-.")[:_LONGEST].rstrip("-.")
    return kept or hashlib.sha256(name.encode(errors="replace")).hexdigest()[:_HASH]


def _no_path(prompts: str) -> str:
    """The name of a prompt set without its file's folder: ``builtin:challenge(p.txt)``."""
    return re.sub(r"\([^()]*[/\\]", "(", prompts)


def environment(recorded: Stamp, here: Stamp) -> list[str]:
    """The differences of device, revision and packages, which may change the last digits."""
    flat = [(name, getattr(recorded, name), getattr(here, name)) for name in _NOTED[:-1]]
    packages = sorted({*recorded.versions, *here.versions})
    flat += [(one, recorded.versions.get(one), here.versions.get(one)) for one in packages]
    differing = [
        f"{name} {was or 'none'}, here {now or 'none'}" for name, was, now in flat if was != now
    ]
    return ["; ".join(differing)] if differing else []


def _news(
    path: Path, old: Recorded | None, new: Recorded, measured: Sequence[str]
) -> tuple[str, ...]:
    """What a new baseline changes in the file, a sentence for each layer; and which it keeps."""
    count = sum(len(new.layers[label]) for label in measured)
    layers = number_of(len(measured), "layer")
    wrote = f"baseline {path}: recorded {number_of(count, 'number')} of {layers}"
    if old is None:
        return (wrote,)
    differing = old.stamp.differences(new.stamp, ("model", *_SAME))
    others = "".join(f"; {name} was {was}, is {now}" for name, was, now in differing)
    lines = [
        line
        for label in measured
        if (line := _layer_news(label, old.layers.get(label), new.layers[label]))
    ]
    lines += [f"it was recorded with {line}" for line in environment(old.stamp, new.stamp)]
    first = f"{wrote}{others}{'' if lines else '; nothing changed'}"
    kept = [label for label in new.layers if label not in measured]
    if kept:
        lines.append(f"kept as recorded before, not measured in this run: {', '.join(kept)}")
    return (first, *lines)


def _layer_news(label: str, was: Numbers | None, now: Numbers) -> str:
    if was is None:
        return f"{label}: new"
    exact = Shares(dict.fromkeys(recorded_names(), 0.0))
    changed: Sequence[Change] = [
        change
        for change in changes(was, now, exact)
        if change.fate is not Fate.KEPT or change.was != change.now
    ]
    return f"{label}: {', '.join(change.words for change in changed)}" if changed else ""
