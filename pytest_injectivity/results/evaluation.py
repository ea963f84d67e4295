"""Reads a results file of lm-evaluation-harness: the scores of its tasks, and how they were taken.

The file is not trusted. It is read strictly, apart from ``NaN`` and infinities, which the harness writes
where a model gives no number: a score that is not finite is a score, and no rule is kept by it.
"""

import glob
import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_injectivity.core.strict_json import read_object
from pytest_injectivity.core.text import number_of, one_line
from pytest_injectivity.errors import OptionError

_ACCEPTED = "give a results file of lm-evaluation-harness (lm_eval --output_path)"
_LONGEST = 100
# As long as command lines get: models are told apart by all of it.
_LONGEST_MODEL = 10_000
_MOST_TOLD = 6
_MOST_FILES = 3
_PER_TASK = ("versions", "n-shot", "n-samples", "task_hashes")
_OF_RUN = ("chat_template_sha", "system_instruction_sha", "fewshot_as_multiturn", "max_length")
_OF_CONFIG = ("limit", "gen_kwargs", "fewshot_seed", "random_seed", "numpy_seed", "torch_seed")
# Hashes are written with --log_samples alone, and the longest text is not known of every kind of model.
_WHERE_BOTH_SAY = {"task_hashes", "max_length"}
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
        parts: by group, the tasks and groups in it.
        settings: what has to be equal for scores to be comparable, by name and task; of the whole run
            the task is empty.
    """

    source: str
    model: str
    scores: Mapping[tuple[str, str], Score]
    parts: Mapping[str, tuple[str, ...]]
    settings: Mapping[tuple[str, str], str]

    @property
    def whole(self) -> tuple[tuple[str, str], ...]:
        """The scores, by task and metric, that no group's score of the same metric stands for."""
        inside: set[tuple[str, str]] = set()
        for group, metric in self.scores:
            others = (part for part in self.within(group) if group not in self.within(part))
            inside.update((part, metric) for part in others)
        return tuple(key for key in self.scores if key not in inside)

    def within(self, group: str) -> set[str]:
        """The tasks and groups in a group, at any depth."""
        found: set[str] = set()
        ahead = [group]
        while ahead:
            new = set(self.parts.get(ahead.pop(), ())) - found
            found |= new
            ahead += new
        return found

    def of(self, tasks: Collection[str]) -> "Evaluation":
        """What is said of some tasks and groups, and of what is in them."""
        known = {*tasks}.union(*(self.within(one) for one in tasks))
        return replace(
            self,
            scores={key: score for key, score in self.scores.items() if key[0] in known},
            settings={key: said for key, said in self.settings.items() if key[1] in {"", *known}},
        )


def read_evaluation(path: Path) -> Evaluation:
    """Read a results file.

    Args:
        path: of the file, or what ``--output_path`` was: a folder, or a file to whose name the harness
            added the date.

    Raises:
        OptionError: there is no such file, or several; it is too large or damaged, or it holds something
            else.
    """
    try:
        file = _written_at(path)
        return _evaluation(file.name, read_object(file, not_finite=True))
    except OptionError as error:
        raise OptionError(f"{one_line(str(path))}: {error}: {_ACCEPTED}") from None


def unlike(child: Evaluation, parent: Evaluation) -> tuple[str, ...]:
    """Why the scores of two files are not comparable, a sentence each; empty where they are."""
    if child.model and child.model == parent.model:
        return (f"both files evaluate the same model, {one_line(child.model)}",)
    names = ("scores of the model", "scores of the reference")
    sides = [{f"{task} {metric}" for task, metric in one.scores} for one in (child, parent)]
    found = []
    for name, missing in zip(names, (sides[1] - sides[0], sides[0] - sides[1]), strict=True):
        found += [f"{name} lack {one}" for one in sorted(missing)]
    for key in sorted(child.settings.keys() | parent.settings.keys()):
        values = [one.settings.get(key) for one in (child, parent)]
        if values[0] == values[1] or (None in values and key[0] in _WHERE_BOTH_SAY):
            continue
        own, theirs = ("not said" if one is None else one_line(one, _LONGEST) for one in values)
        name = f"{key[0]} of {key[1]}" if key[1] else key[0]
        found.append(f"{name}: {own}, of the reference {theirs}")
    told = tuple(f"evaluations differ: {one}" for one in found[:_MOST_TOLD])
    left = len(found) - _MOST_TOLD
    return told if left <= 0 else (*told, f"… and {number_of(left, 'more difference')}")


def _written_at(path: Path) -> Path:
    """The results file that the harness wrote where it was told to.

    In a folder it makes one that is named after the model; the name of a file gets the date.
    """
    if path.suffix == ".jsonl":
        raise OptionError(
            "it holds samples of a task; the scores are in the results file beside it"
        )
    if path.is_dir():
        place = "this folder has"
        found = sorted({*path.glob("results*.json"), *path.glob("*/results*.json")})
    elif path.suffix == ".json" and not path.exists():
        place = "there is no such file, and of names with a date"
        found = sorted(path.parent.glob(f"{glob.escape(path.stem)}_*T*.json"))
        if not found:
            return path
    else:
        return path
    if len(found) == 1:
        return found[0]
    names = ", ".join(one_line(one.name, _LONGEST) for one in found[-_MOST_FILES:])
    few = "" if len(found) <= _MOST_FILES else "…, "
    listed = f" ({few}{names})" if found else ""
    raise OptionError(f"{place} {number_of(len(found), 'results file')}{listed}: name one")


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
        dict(_parts(_object(found, "group_subtasks"))),
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


def _parts(subtasks: Mapping[str, object]) -> Iterator[tuple[str, tuple[str, ...]]]:
    for group, named in subtasks.items():
        if isinstance(named, list):
            yield (
                one_line(group, _LONGEST),
                tuple(one_line(str(one), _LONGEST) for one in named),
            )


def _settings(
    found: Mapping[str, Any], entries: Mapping[str, object]
) -> Iterator[tuple[tuple[str, str], str]]:
    for name in _PER_TASK:
        for task, value in _object(found, name).items():
            if task in entries:
                yield (name, one_line(task, _LONGEST)), _text(value)
    config = _object(found, "config")
    for name, holder in (
        *((one, found) for one in _OF_RUN),
        *((one, config) for one in _OF_CONFIG),
    ):
        if holder.get(name) not in (None, "", False, {}):
            yield (name, ""), _text(holder[name])


def _model(found: Mapping[str, Any]) -> str:
    """The kind of model and its arguments, as on a command line; newer versions write an object."""
    config = _object(found, "config")
    given = config.get("model_args")
    if isinstance(given, dict):
        given = ",".join(f"{name}={_text(value)}" for name, value in given.items())
    said = " ".join(_text(one) for one in (config.get("model"), given) if one)
    return one_line(said, _LONGEST_MODEL)


def _object(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A JSON object in another one; an empty one where there is none."""
    value = found.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise OptionError(f"{name} is no JSON object")
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
