"""The curves and tables of the papers, measured once a session and written as JSON."""

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_injectivity import (
    compare_models,
    first_collisions,
    one_step_margins,
    smallest_distances,
    sweep_bits,
    sweep_lengths,
    write_figure,
)

TABLES = pytest.StashKey[list[str]]()


def pytest_addoption(parser):
    """What only this suite asks for; model, prompts, layers and the rest are the plugin's flags."""
    group = parser.getgroup("paper figures")
    group.addoption("--figure-lengths", default="16,32,64", help="windows of so many tokens: 16,32")
    group.addoption("--figure-models", default="", help="more models to stand beside: PATH,PATH")
    group.addoption(
        "--figure-bits", default="8,7,6,5,4,3,2", help="what states are rounded to: 8,4 asymmetric"
    )
    group.addoption("--figure-folder", default="figures", help="where the JSON goes")


def pytest_configure(config):
    """Tables collect here until the end of the run."""
    config.stash[TABLES] = []


def pytest_terminal_summary(terminalreporter, config):
    """The figures as small tables."""
    for line in config.stash[TABLES]:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def folder(pytestconfig):
    """Where the figure data is written."""
    return Path(pytestconfig.getoption("--figure-folder"))


@pytest.fixture(scope="session")
def lengths(pytestconfig):
    """The prompt lengths of the curve, in tokens."""
    return [int(length) for length in pytestconfig.getoption("--figure-lengths").split(",")]


@pytest.fixture(scope="session")
def by_length(injx, lengths, folder, pytestconfig):
    """[VS] figure 2 and [N] figure 5: margin and co-Lipschitz constant by prompt length."""
    points = sweep_lengths(injx.config, lengths, watcher=injx.watcher)
    write_figure(folder / "by_length.json", "by length", points=points)
    injx.report_sweep("by length", points)
    pytestconfig.stash[TABLES] += _table("by length", points)
    return points


@pytest.fixture(scope="session")
def by_model(injx, folder, pytestconfig):
    """[VS] figure 3 and [N] table 1: the same of several models, on the same texts."""
    others = [one for one in pytestconfig.getoption("--figure-models").split(",") if one]
    configs = [replace(injx.config, model=one) for one in (injx.config.model, *others)]
    points = compare_models(configs, watcher=injx.watcher)
    distances = smallest_distances(points)
    write_figure(folder / "by_model.json", "by model", points=points, smallest_distances=distances)
    injx.report_sweep("by model", points)
    shown = [_name(model) + "".join(map(_number, row)) for model, row in distances.items()]
    pytestconfig.stash[TABLES] += _table("by model", points)
    pytestconfig.stash[TABLES] += ["", "smallest distance at layers 1, L/2, L", *shown]
    return points


@pytest.fixture(scope="session")
def by_bits(injx, folder, pytestconfig):
    """[VS] figures 4 and 5: the states as they are and rounded to fewer and fewer bits."""
    grids = pytestconfig.getoption("--figure-bits").split(",")
    points = sweep_bits(injx.config, grids, watcher=injx.watcher)
    first = first_collisions(points)
    write_figure(folder / "by_bits.json", "by bits", points=points, first_collisions=first)
    injx.report_sweep("by bits", points)
    pytestconfig.stash[TABLES] += _bits_table(points, first)
    return points


@pytest.fixture(scope="session")
def one_step(injx, folder, pytestconfig):
    """[N]: the one-step margin by layer, over 1,000 continuations of each of 10 prompts."""
    found = one_step_margins(injx, prompts=10, continuations=1000)
    write_figure(folder / "one_step.json", "one step", points=found)
    shown = [f"{one.layer:>17}{_number(one.minimum)}{_number(one.median)}" for one in found]
    title = f"one-step margin over {found[0].continuations} continuations: minimum, median"
    pytestconfig.stash[TABLES] += ["", title, *shown]
    return found


def _table(title, points):
    """Raw and normalized 1 % quantiles; the JSON has everything."""
    names = "".join(f" {name:>8}" for name in ("m 1%", "m/norm", "α 1%", "α/norm"))
    head = f"{'model':>17} {'length':>6} {'layer':>7} {'N':>5} {'coll.':>5}{names}"
    return ["", f"{title}: separation margin m, co-Lipschitz constant α", head, *map(_row, points)]


def _bits_table(points, first):
    """By layer and bits what figures 4 and 5 of [VS] show; the JSON has every eps."""
    names = "".join(f" {name:>8}" for name in ("norm", "m/norm", "α/norm", "< 1e-2"))
    head = f"{'layer':>7} {'bits':>5} {'coll.':>7}{names}"
    rows = []
    for point in sorted(points, key=lambda one: (one.layer == "norm", one.layer)):
        values = (
            point.mean_norm,
            point.normalized_margin_q,
            point.normalized_colipschitz_q,
            point.near_fractions["0.01"],
        )
        bits = "full" if point.bits is None else point.bits
        rows.append(
            f"{point.layer:>7} {bits:>5} {point.collisions:>7}" + "".join(map(_number, values))
        )
    said = ", ".join(f"{layer} {'none' if bits is None else bits}" for layer, bits in first.items())
    title = "by bits: mean norm, 1 % quantiles over it, fraction of pairs within 1e-2"
    return ["", title, head, *rows, f"first bits with collisions: {said}"]


def _row(point):
    values = (
        point.margin_q,
        point.normalized_margin_q,
        point.colipschitz_q,
        point.normalized_colipschitz_q,
    )
    where = f"{_name(point.model)} {point.length or 'as is':>6} {point.layer:>7}"
    return f"{where} {point.n:>5} {point.collisions:>5}" + "".join(map(_number, values))


def _name(model):
    return f"{Path(model).name.removeprefix('builtin:'):>17.17}"


def _number(value):
    return f" {'-' if value is None else f'{value:.3g}':>8}"
