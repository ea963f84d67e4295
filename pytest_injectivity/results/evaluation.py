"""Reads a results file of lm-evaluation-harness: the scores of its tasks, and how they were taken.

The file is not trusted. It is read strictly, apart from ``NaN`` and infinities, which the harness writes
where a model gives no number: a score that is not finite is a score, and no rule is kept by it.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_injectivity.core.strict_json import read_object
from pytest_injectivity.core.text import number_of, one_line
from pytest_injectivity.errors import OptionError

_ACCEPTED = "give a results file of lm-evaluation-harness (lm_eval --output_path)"
_LONGEST = 100
_MOST_TOLD = 6
_PER_TASK = ("versions", "n-shot", "n-samples", "task_hashes")
_OF_RUN = ("chat_template_sha", "system_instruction_sha", "fewshot_as_multiturn")
_OF_CONFIG = ("limit", "gen_kwargs", "fewshot_seed", "random_seed", "numpy_seed", "torch_seed")
# Metrics whose direction files of older versions do not say.
_HIGHER = {"acc", "acc_norm", "exact_match", "f1", "mcc", "bleu", "chrf", "pass@1", "em"}
_LOWER = {"perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score", "ter"}


@dataclass(frozen=True)
class Score:
    """One metric of one task.

    Attributes:
        task: its name in the file.
        metric: with its filter, ``acc,none``.
        value: the score.
        stderr: its standard error; None where the file has no such number.
        higher: whether more is better; None where that is not known.
    """

    task: str
    metric: str
    value: float
    stderr: float | None
    higher: bool | None


@dataclass(frozen=True)
class Evaluation:
    """A results file.

    Attributes:
        source: the file's name.
        model: the model that was evaluated, in the file's words.
        scores: by task and metric.
        whole: the tasks that are part of no group with scores of its own.
        settings: what has to be equal for scores to be comparable, by name.
    """

    source: str
    model: str
    scores: Mapping[tuple[str, str], Score]
    whole: tuple[str, ...]
    settings: Mapping[str, str]


def read_evaluation(path: Path) -> Evaluation:
    """Read a results file.

    Args:
        path: of the file, or of a folder that the harness wrote one results file to.

    Raises:
        OptionError: there is no such file, or several; it is too large or damaged, or it holds something
            else.
    """
    try:
        file = _only(path) if path.is_dir() else path
        return _evaluation(file.name, read_object(file, not_finite=True))
    except OptionError as error:
        raise OptionError(f"{one_line(str(path))}: {error}: {_ACCEPTED}") from None


def unlike(child: Evaluation, parent: Evaluation) -> tuple[str, ...]:
    """Why the scores of two files are not comparable, a sentence each; empty where they are."""
    if child.model and child.model == parent.model:
        return (f"both files evaluate the same model, {child.model}",)
    names = ("scores of the model", "scores of the reference")
    sides = [{f"{task} {metric}" for task, metric in one.scores} for one in (child, parent)]
    found = []
    for name, missing in zip(names, (sides[1] - sides[0], sides[0] - sides[1]), strict=True):
        found += [f"{name} lack {one}" for one in sorted(missing)]
    for key in sorted(child.settings.keys() | parent.settings.keys()):
        values = [one.settings.get(key, "not said") for one in (child, parent)]
        if values[0] != values[1]:
            found.append(f"{key}: {values[0]}, of the reference {values[1]}")
    told = tuple(f"evaluations differ: {one}" for one in found[:_MOST_TOLD])
    left = len(found) - _MOST_TOLD
    return told if left <= 0 else (*told, f"… and {number_of(left, 'more difference')}")


def _only(folder: Path) -> Path:
    """The results file of a folder, or of a folder in it, which the harness names after the model."""
    found = sorted({*folder.glob("results*.json"), *folder.glob("*/results*.json")})
    if len(found) != 1:
        raise OptionError(f"this folder has {number_of(len(found), 'results file')}: name one")
    return found[0]


def _evaluation(source: str, found: dict[str, Any]) -> Evaluation:
    results = _object(found, "results")
    groups = _object(found, "groups")
    entries = {**results, **groups}
    if not entries:
        raise OptionError("results names no task")
    directions = _object(found, "higher_is_better")
    scores = {
        (one.task, one.metric): one
        for task, entry in entries.items()
        for one in _scores(task, entry, directions.get(task))
    }
    if not scores:
        raise OptionError("no task has a metric such as acc,none")
    return Evaluation(
        one_line(source, _LONGEST),
        _model(found),
        scores,
        _whole(entries, _object(found, "group_subtasks"), scores),
        dict(_settings(found, entries)),
    )


def _scores(task: str, entry: object, directions: object) -> Iterator[Score]:
    if not isinstance(entry, dict):
        raise OptionError(f"results.{one_line(task, _LONGEST)} is no JSON object")
    for key, value in entry.items():
        metric, comma, kind = key.partition(",")
        if not comma or metric.endswith("_stderr") or (number := _number(value)) is None:
            continue
        stderr = _number(entry.get(f"{metric}_stderr,{kind}"))
        known = stderr is not None and 0.0 <= stderr < math.inf
        higher = directions.get(metric) if isinstance(directions, dict) else None
        if not isinstance(higher, bool):
            higher = True if metric in _HIGHER else False if metric in _LOWER else None
        name, shown = (one_line(one, _LONGEST) for one in (task, key))
        yield Score(name, shown, number, stderr if known else None, higher)


def _number(value: object) -> float | None:
    """A number as a float; None for what is none, such as ``"N/A"``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _whole(
    entries: Mapping[str, object],
    subtasks: Mapping[str, object],
    scores: Mapping[tuple[str, str], Score],
) -> tuple[str, ...]:
    """The tasks that no group with scores of its own stands for."""
    scored = {task for task, _ in scores}
    inside: set[str] = set()
    open_groups = [group for group in subtasks if one_line(group, _LONGEST) in scored]
    while open_groups:
        group = open_groups.pop()
        named = subtasks.get(group)
        parts = [str(one) for one in named if one != group] if isinstance(named, list) else []
        open_groups += [one for one in parts if one not in inside]
        inside.update(parts)
    shown = (one_line(task, _LONGEST) for task in entries if task not in inside)
    return tuple(task for task in dict.fromkeys(shown) if task in scored)


def _settings(found: Mapping[str, Any], entries: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name in _PER_TASK:
        said = _object(found, name)
        yield from (
            (f"{name} of {one_line(task, _LONGEST)}", _shown(value))
            for task, value in said.items()
            if task in entries
        )
    config = _object(found, "config")
    for name, holder in (
        *((one, found) for one in _OF_RUN),
        *((one, config) for one in _OF_CONFIG),
    ):
        if holder.get(name) not in (None, "", False, {}):
            yield name, _shown(holder[name])


def _model(found: Mapping[str, Any]) -> str:
    config = _object(found, "config")
    parts = (config.get("model"), config.get("model_args"))
    return " ".join(_shown(one) for one in parts if one)


def _object(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A JSON object in another one; an empty one where there is none."""
    value = found.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise OptionError(f"{name} is no JSON object")
    return value


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return one_line(text, _LONGEST)
