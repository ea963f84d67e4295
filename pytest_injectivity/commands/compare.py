"""``pytest-injectivity compare``: holds one saved run against another, without a model."""

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_injectivity.commands.answer import Answer
from pytest_injectivity.errors import OptionError

if TYPE_CHECKING:
    from pytest_injectivity.commands.answer import Commands
    from pytest_injectivity.results.saved_runs import Recorded

_WORSE = 1
_WIDTH = 100


def add_compare(commands: "Commands") -> None:
    """Add the command to the parser's."""
    compare = commands.add_parser(
        "compare",
        help="hold saved runs against another, without a model",
        description="Compares the numbers of JSON reports (--injx-report=json:PATH), layer by layer"
        " and metric by metric, each with those of the first; a baseline may stand for any. Models,"
        " dtypes and quantization may differ; prompts, N, metric and seed may not. Runs of several"
        " models are compared model by model, by name. Exit status: 0 nothing is worse beyond its"
        " tolerance, 1 something is, 4 the files cannot be read or compared.",
    )
    compare.add_argument("was", metavar="A.json", type=Path, help="the run that was")
    compare.add_argument("now", metavar="B.json", type=Path, help="the run that is held against it")
    compare.add_argument(
        "more",
        metavar="C.json",
        type=Path,
        nargs="*",
        default=[],  # else argparse would call it required
        help="more runs that are held against the first",
    )
    compare.add_argument(
        "--tolerance",
        action="append",
        default=[],
        metavar="[METRIC=]SHARE",
        help="how much worse a number may be, as a share of what it was: 0.02 for every metric that is"
        " no count, margin_q=0.05 for one (may be given again)",
    )
    compare.set_defaults(command=_compare)


def _compare(given: argparse.Namespace) -> Answer:
    from pytest_injectivity.reports.comparison import file_line
    from pytest_injectivity.results.saved_runs import read_models

    asked = _tolerances(given.tolerance)
    paths = (given.was, given.now, *given.more)
    was, *others = [read_models(path) for path in paths]
    answers = [_answer((was, now), asked) for now in others]
    if len(answers) == 1:
        return answers[0]
    titles = [file_line(paths[0], path) for path in paths[1:]]
    texts = [f"{title}\n{one.text}" for title, one in zip(titles, answers, strict=True)]
    return Answer("\n\n".join(texts), max(one.status for one in answers))


def _answer(
    runs: "tuple[Mapping[str, Recorded], Mapping[str, Recorded]]", asked: Mapping[str, float]
) -> Answer:
    """What one run is, held against the first."""
    from pytest_injectivity.reports.comparison import compare, comparison_text, model_line, worse
    from pytest_injectivity.results.changes import read_tolerances

    several = max(map(len, runs)) > 1
    width = shutil.get_terminal_size((_WIDTH, 0)).columns
    texts, bad = [], False
    for name, (was, now) in _pairs(*runs).items():
        resolution = max(was.resolution, now.resolution)
        try:
            layers = compare(was, now, read_tolerances(asked, resolution=resolution))
        except OptionError as error:
            raise OptionError(f"model {name}: {error}" if several else str(error)) from None
        text = comparison_text(was, now, layers, width=width, color=sys.stdout.isatty())
        texts.append(f"{model_line(name)}\n{text}" if several else text)
        bad |= bool(worse(layers))
    lines, gone = [], []
    if several:
        gone = [name for name in runs[0] if name not in runs[1]]
        lines = [model_line(name, "gone: the second run did not measure it") for name in gone]
        new = [name for name in runs[1] if name not in runs[0]]
        lines += [model_line(name, "the first run did not measure it") for name in new]
    return Answer("\n\n".join((*texts, *lines)), _WORSE if bad or gone else 0)


def _pairs(
    was: "Mapping[str, Recorded]", now: "Mapping[str, Recorded]"
) -> "dict[str, tuple[Recorded, Recorded]]":
    """The models of two runs that are compared: those of one name, or the only one of each."""
    if len(was) == len(now) == 1:
        ((name, one),) = now.items()
        return {name: (next(iter(was.values())), one)}
    if pairs := {name: (was[name], now[name]) for name in was if name in now}:
        return pairs
    raise OptionError(
        f"the runs have no model in common: one has {', '.join(was)}, the other {', '.join(now)}"
    )


def _tolerances(given: Sequence[str]) -> dict[str, float]:
    """Tolerances by metric; a share without a metric holds for every other metric."""
    from pytest_injectivity.results.metrics import recorded

    pairs = [one.rpartition("=") for one in given]
    for_all = [_share(share) for _, equals, share in pairs if not equals]
    every = {} if not for_all else {one.name: for_all[-1] for one in recorded() if not one.counted}
    return every | {name: _share(share) for name, equals, share in pairs if equals}


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise OptionError(
            f"--tolerance {text!r} is not a number: give a share such as 0.02, or margin_q=0.05"
        ) from None
