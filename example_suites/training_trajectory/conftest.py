"""Trains a small GPT-2, or takes the checkpoints of your training, and measures both the same way."""

from dataclasses import replace
from pathlib import Path

import pytest
from gpt2_training import Training, losses_of, trained

from pytest_injectivity import (
    AuditConfig,
    MissingExtra,
    list_checkpoints,
    write_course,
    write_figure,
)

TABLES = pytest.StashKey[list[str]]()
STEPS = 20
SETTINGS = ("steps", "layers", "width", "window", "batch", "seed")


def pytest_addoption(parser):
    """What is trained where --injx-model names no checkpoint of yours."""
    group = parser.getgroup("training trajectory")
    defaults = Training()
    group.addoption("--train-folder", default="trained", help="where the training is kept")
    for name in SETTINGS:
        value = getattr(defaults, name)
        group.addoption(f"--train-{name}", type=int, default=value, help=f"default: {value}")


def pytest_configure(config):
    """Tables collect here until the end of the run."""
    config.stash[TABLES] = []


def pytest_terminal_summary(terminalreporter, config):
    """The trajectory as small tables."""
    for line in config.stash[TABLES]:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def injx_config(injx_config, pytestconfig):
    """Your checkpoint (--injx-model=run/checkpoint-1000), or the last one of a training made here."""
    if injx_config.model != AuditConfig().model:
        return injx_config
    asked = {name: pytestconfig.getoption(f"--train-{name}") for name in SETTINGS}
    folder = trained(pytestconfig.getoption("--train-folder"), Training(**asked))
    return replace(injx_config, model=str(folder / f"checkpoint-{asked['steps']}"))


@pytest.fixture(scope="session")
def checkpoints(injx_config):
    """20 of the checkpoints, at steps that grow by about the same factor."""
    return list_checkpoints(injx_config.model, most=STEPS)


@pytest.fixture(scope="session")
def points(injx, checkpoints, pytestconfig):
    """Every layer of every step, on the same prompts: the JSON, the page's figures and a table."""
    found = injx.along_training(checkpoints).points
    losses = losses_of(Path(injx.config.model).parent)
    write_figure("figures/along_training.json", "along training", points=found, losses=losses)
    injx.report_sweep("along training", found)
    try:
        write_course("figures/along_training.svg", found)
    except MissingExtra as missing:
        pytestconfig.stash[TABLES] += ["", f"no picture: {missing}"]
    for metric, title in (
        ("normalized_margin_q", "margin"),
        ("normalized_colipschitz_q", "co-Lipschitz constant"),
    ):
        pytestconfig.stash[TABLES] += _table(found, metric, title, losses)
    return found


def _table(points, metric, title, losses):
    """A row a step, a column a layer."""
    layers = list(dict.fromkeys(point.layer for point in points))
    head = f"{'step':>7} {'loss':>7}" + "".join(f" {layer:>9}" for layer in layers)
    rows = {}
    for point in points:
        rows.setdefault(point.step, []).append(point[metric])
    shown = [
        f"{step:>7} {_number(losses.get(step)):>7}" + "".join(f" {_number(one):>9}" for one in row)
        for step, row in rows.items()
    ]
    said = f"{title}, 1 % quantile over the mean norm; {points[0].n} prompts at every step"
    return ["", said, head, *shown]


def _number(value):
    return "-" if value is None else f"{value:.3g}"
