"""Margins and constants along a training as an SVG picture: a panel each, a line a layer.

The horizontal axis is logarithmic from step 1 on; step 0 stands before it. Of many layers six are drawn,
the first and the last among them: more lines are not told apart.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_injectivity.core.files import write_whole
from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import OptionError
from pytest_injectivity.reports.svg import color, svg
from pytest_injectivity.results.changes import label_depth
from pytest_injectivity.results.sweeps import SweepPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = 3.8  # inches
_MOST = 6
# A factor around steps, and what is left before step 0, as a share of the way to step 1.
_AROUND, _BEFORE = 1.3, 0.2
_PANELS = (
    ("normalized_margin_q", "margin over mean norm\n1 % quantile"),
    ("normalized_colipschitz_q", "co-Lipschitz constant over mean norm\n1 % quantile"),
)


def write_course(path: str | Path, points: Sequence[SweepPoint]) -> None:
    """Write the picture of a training, whole or not at all.

    Args:
        path: of the file; its folder is made.
        points: of `Trajectory`; those that were not measured are left out.

    Raises:
        MissingExtra: matplotlib is not installed.
        OptionError: the points are not of the steps of a training.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> from pytest_injectivity import Audit, AuditConfig
        >>> from pytest_injectivity.testing import save_checkpoint, tiny_decoder
        >>> run = Path(tempfile.mkdtemp())
        >>> for step in (0, 9):
        ...     model = save_checkpoint(tiny_decoder(seed=step), run / f"checkpoint-{step}")
        >>> config = AuditConfig(model=str(model), prompts="builtin:random", max_prompts=64, layers="-1")
        >>> trajectory = Audit(config).along_training()
        >>> path = run / "course.svg"
        >>> write_course(path, trajectory.points)
        >>> path.read_text().startswith("<?xml")
        True
    """
    write_whole(path, course(points))


def course(points: Sequence[SweepPoint]) -> str:
    """The picture as SVG text; the line of the ``j``-th layer in the ``i``-th panel is ``course-i-j``.

    Raises:
        MissingExtra: matplotlib is not installed.
        OptionError: the points are not of the steps of a training.
    """
    if not points or any(one.step is None for one in points):
        raise OptionError(
            "points without a step are of no training: give those of along_training()"
        )
    return svg(lambda: _figure(points), "trainings")


def _figure(points: Sequence[SweepPoint]) -> "Figure":
    from matplotlib.figure import Figure

    every = sorted({one.layer for one in points}, key=label_depth)
    layers = _some(every)
    figure = Figure(figsize=(2 * _PANEL, _PANEL + 0.4), layout="constrained")
    panels = figure.subplots(1, len(_PANELS), squeeze=False)[0]
    for at, ((metric, title), axes) in enumerate(zip(_PANELS, panels, strict=True)):
        axes.set_xscale("symlog", linthresh=1)
        axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
        _draw(axes, points, layers, metric, at)
        axes.set(xlabel="step", title=title, ylim=(0, None), xlim=_ends(points))
    handles = [panels[0].plot([], [], "o-", color=color(at))[0] for at in range(len(layers))]
    names = [one_line(layer) for layer in layers]
    left_out = f"{len(layers)} of {len(every)} layers" if len(layers) < len(every) else None
    figure.legend(
        handles, names, title=left_out, loc="outside lower center", ncols=len(names), frameon=False
    )
    return figure


def _ends(points: Sequence[SweepPoint]) -> tuple[float, float]:
    steps = [one.step or 0 for one in points]
    return (min(steps) / _AROUND or -_BEFORE), max(1, *steps) * _AROUND


def _some(layers: Sequence[str]) -> list[str]:
    """All of a few; of many some that lie about as far from each other."""
    last = len(layers) - 1
    if last < _MOST:
        return list(layers)
    return [layers[round(at * last / (_MOST - 1))] for at in range(_MOST)]


def _draw(
    axes: "Axes", points: Sequence[SweepPoint], layers: Sequence[str], metric: str, panel: int
) -> None:
    for at, layer in enumerate(layers):
        found = [(one.step, one[metric]) for one in points if one.layer == layer]
        known = [(step, value) for step, value in found if value is not None]
        right, up = [step for step, _ in known], [value for _, value in known]
        (line,) = axes.plot(right, up, "o-", color=color(at), markersize=3, linewidth=1)  # type: ignore[arg-type] # of a training steps are known
        line.set_gid(f"course-{panel}-{at}")
