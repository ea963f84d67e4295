"""Numbers kept in git: what a layer had when somebody looked, held against what it has now.

`check_matches_baseline` compares; with ``--injx-update-baseline`` it measures the same and compares
nothing, and at the end of a run that is green otherwise `Baselines.update_baseline` writes what it
measured. Nothing is written in any other case: a missing baseline fails.
"""

import hashlib
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from pytest_injectivity.audit.checks.baseline import (
    judge_recorded,
    judge_recording,
    unrecorded_file,
)
from pytest_injectivity.audit.gates import Gates, asserting
from pytest_injectivity.core.files import write_whole
from pytest_injectivity.core.layers import Layer, LayerSpec, layer_id
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.errors import OptionError
from pytest_injectivity.quantization.grid import GridLike
from pytest_injectivity.results.changes import (
    Allowed,
    Change,
    Fate,
    Numbers,
    Shares,
    by_depth,
    changes,
    read_tolerances,
    recorded_names,
)
from pytest_injectivity.results.saved_runs import (
    RESOLUTION,
    SAME,
    Recorded,
    Stamp,
    baseline_text,
    label_of,
    numbers_of,
    read_baseline,
    rounded,
)
from pytest_injectivity.results.verdict import Verdict

_SAME = (*SAME, "dtype", "quantized", "activations", "family", "n_layers", "hidden", "vocab")
_NOTED = ("device", "revision", "versions")
_SUFFIX = ".json"
_LONGEST = 60
_HASH = 8


class Baselines(Gates):
    """The check that holds layers against a baseline, and what writes one."""

    def check_matches_baseline(
        self,
        layer: LayerSpec | None = None,
        *,
        tolerance: PerLayer[Allowed] | None = None,
        bits: GridLike | None = None,
    ) -> Verdict:
        """No number of a layer is worse than the baseline in ``--injx-baseline`` by its tolerance.

        A layer that the baseline does not have fails, and so does a missing baseline. Numbers that
        are better by more than the tolerance pass and are announced: the baseline is stale.

        Args:
            layer: the layers judged.
            tolerance: a share of the recorded number for all metrics that are no counts, or shares
                by the name of a metric; one for all layers or by layer. None: those of
                ``results.metrics.METRICS``.
            bits: round the captured states to so many bits first, or to a `Grid` as text.

        Raises:
            LayerError: the model has no such layer.
            OptionError: no baseline is named, it is damaged or of another N, prompt set, metric,
                seed, dtype or model, or a tolerance or bits are not accepted.
        """
        tolerances = self._by_layer("tolerance", _tolerances(tolerance), layer)
        path = self.baseline_path
        if self.config.update_baseline:
            read_baseline(
                path
            )  # what is there and is none is not written over: told before the work
            summaries = [self.layer_summary(one, bits) for one in tolerances]
            measured = {label_of(*one.key): numbers_of(one) for one in summaries}
            self.to_record.update(measured)
            reasons = [
                judge_recording(one, numbers)
                for one, numbers in zip(summaries, measured.values(), strict=True)
            ]
            return self._verdict("matches_baseline", reasons)
        if self._baseline is None:
            missing = unrecorded_file([layer_id(one) for one in tolerances])
            return self._verdict("matches_baseline", missing, notes=self._how_to_record(path))
        return self._judged_by(self._baseline, tolerances, bits)

    assert_matches_baseline = asserting(check_matches_baseline)

    @cached_property
    def to_record(self) -> dict[str, Numbers]:
        """What `check_matches_baseline` has measured for `update_baseline`, by the layer's label."""
        return {}

    @cached_property
    def baseline_path(self) -> Path:
        """The file of this audit's baseline: in the folder that the config names, or that file.

        Raises:
            OptionError: the config names none.
        """
        if self.config.baseline is None:
            raise OptionError(
                "no baseline is named: give --injx-baseline=DIR, or AuditConfig(baseline=DIR)"
            )
        named = Path(self.config.baseline).expanduser()
        return named if named.suffix == _SUFFIX else named / file_name(self.stamp)

    @cached_property
    def stamp(self) -> Stamp:
        """What a baseline of this audit says of itself."""
        stamp = Stamp.of(self.run_summary())
        return replace(stamp, model=model_name(self.config.model), prompts=_no_path(stamp.prompts))

    def update_baseline(self) -> tuple[str, ...]:
        """Write what was measured, and nothing else, as the baseline; the file is replaced whole.

        Returns:
            Sentences on what is new in it.

        Raises:
            OptionError: nothing was measured for it, a number is not finite, or the file that is there
                is no baseline.
            OSError: the file cannot be written.
        """
        if not self.to_record:
            raise OptionError(
                "no baseline is written: no test asked for assert_matches_baseline with"
                " --injx-update-baseline"
            )
        path = self.baseline_path
        labels = sorted(self.to_record, key=by_depth)
        new = Recorded(self.stamp, {one: rounded(self.to_record[one]) for one in labels})
        try:
            text = baseline_text(new)
        except OptionError as error:
            raise OptionError(f"{path} is not written: {error}") from None
        news = _news(path, new)
        write_whole(path, text)
        return news

    @cached_property
    def _baseline(self) -> Recorded | None:
        """What is recorded of what is audited; None where nothing is."""
        path = self.baseline_path
        recorded = read_baseline(path)
        if recorded is None:
            return None
        # A file that is named stands for whatever checkpoint comes next.
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

    def _judged_by(
        self,
        recorded: Recorded,
        tolerances: Mapping[Layer, Shares],
        bits: GridLike | None,
    ) -> Verdict:
        reasons, stale = [], []
        for one, allowed in tolerances.items():
            layer = self.layer_summary(one, bits)
            label = label_of(*layer.key)
            reason, better = judge_recorded(
                layer, recorded.layers.get(label), numbers_of(layer), allowed
            )
            reasons.append(reason)
            stale += [f"{label} {change.words}" for change in better]
        notes = [f"recorded with {line}" for line in _environment(recorded.stamp, self.stamp)]
        if stale:
            notes.append(
                f"stale baseline {self.baseline_path}: better than recorded: {'; '.join(stale)};"
                " record it with --injx-update-baseline"
            )
            self.watcher.announce(notes[-1])
        return self._verdict("matches_baseline", reasons, notes=notes)

    def _how_to_record(self, path: Path) -> tuple[str, ...]:
        """Of the whole file of tests: one test alone would record one layer alone."""
        named = [one.partition("::")[0] for one in shlex.split(self.where)]
        file = f"{shlex.join(named)} " if named else ""
        return (
            f"there is no {path}, and nothing was written",
            f"to make it: pytest {file}{self.config.command_line()} --injx-update-baseline",
        )


def model_name(source: str) -> str:
    """What a model is called wherever it lies: a folder's or file's name, a hub id, ``builtin:…``."""
    path = Path(source).expanduser()
    if source.startswith("builtin:") or not path.exists():
        return source.partition("@")[0]
    return Path(os.path.abspath(path)).name  # noqa: PTH100 - a link's own name is the stable one


def file_name(stamp: Stamp) -> str:
    """``gpt2-xl--bnb-nf4--prompts.jsonl.json``: model, how it is rounded, prompts.

    Lower-case ASCII letters, digits, ``.``, ``_`` and ``-``, so that no name leaves the folder or
    differs from another by what some systems do not tell apart.
    """
    rounded = None if stamp.activations is None else f"activations {stamp.activations}"
    parts = (stamp.model, stamp.quantized, rounded, stamp.prompts)
    return "--".join(_slug(part) for part in parts if part is not None) + _SUFFIX


def _slug(name: str) -> str:
    kept = re.sub(r"[^a-z0-9._]+", "-", name.lower()).strip("-.")[:_LONGEST].rstrip("-.")
    return kept or hashlib.sha256(name.encode(errors="replace")).hexdigest()[:_HASH]


def _no_path(prompts: str) -> str:
    """``builtin:challenge(p.txt)``, wherever that file lies."""
    return re.sub(r"\([^()]*[/\\]", "(", prompts)


def _tolerances(given: PerLayer[Allowed] | None) -> PerLayer[Shares]:
    """Complete tolerances, one for all layers or by layer as they were given."""
    names = recorded_names()
    if not isinstance(given, Mapping) or all(name in names for name in given):
        return read_tolerances(given, resolution=RESOLUTION)  # type: ignore[arg-type] # metrics' names
    if any(name in names for name in given):
        raise OptionError(
            f"tolerance={dict(given)!r} names layers beside metrics: give shares by metric, or by"
            ' layer such as {":3": 0.05, "norm": {"margin_q": 0.1}}'
        )
    return {spec: read_tolerances(one, resolution=RESOLUTION) for spec, one in given.items()}


def _environment(recorded: Stamp, here: Stamp) -> list[str]:
    """What may move a last place, where it is not as it was."""
    flat = [(name, getattr(recorded, name), getattr(here, name)) for name in _NOTED[:-1]]
    packages = sorted({*recorded.versions, *here.versions})
    flat += [(one, recorded.versions.get(one), here.versions.get(one)) for one in packages]
    differing = [
        f"{name} {was or 'none'}, here {now or 'none'}" for name, was, now in flat if was != now
    ]
    return ["; ".join(differing)] if differing else []


def _news(path: Path, new: Recorded) -> tuple[str, ...]:
    """What a baseline says that the file did not say before, a sentence a layer."""
    count = sum(len(numbers) for numbers in new.layers.values())
    wrote = f"baseline {path}: recorded {count} numbers of {len(new.layers)} layers"
    old = read_baseline(path)
    if old is None:
        return (wrote,)
    differing = old.stamp.differences(new.stamp, ("model", *_SAME))
    others = "".join(f"; {name} was {was}, is {now}" for name, was, now in differing)
    lines = [
        line
        for label in sorted({*old.layers, *new.layers}, key=by_depth)
        if (line := _layer_news(label, old.layers.get(label), new.layers.get(label)))
    ]
    lines += [f"it was recorded with {line}" for line in _environment(old.stamp, new.stamp)]
    return (f"{wrote}{others}{'' if lines else '; nothing changed'}", *lines)


def _layer_news(label: str, was: Numbers | None, now: Numbers | None) -> str:
    if was is None:
        return f"{label}: new"
    if now is None:
        return f"{label}: gone from the baseline: this run did not measure it"
    exact = Shares(dict.fromkeys(recorded_names(), 0.0))
    changed: Sequence[Change] = [
        change
        for change in changes(was, now, exact)
        if change.fate is not Fate.KEPT or change.was != change.now
    ]
    return f"{label}: {', '.join(change.words for change in changed)}" if changed else ""
