"""A track: the runs of one model whose numbers compare, in the order of time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_injectivity.results.history.past_run import PastModel, PastRun
from pytest_injectivity.results.history.reading import LeftOut
from pytest_injectivity.results.saved_runs import SAME, Stamp

COMPARABLE = (*SAME, "family", "n_layers", "hidden", "vocab", "dtype", "quantized", "activations")
"""What is equal in all runs of a track: what makes numbers comparable, and what the model is."""
ENOUGH = 4
"""Runs from which on the last one is judged."""


@dataclass(frozen=True)
class Track:
    """The runs of one model with one set of prompts.

    Attributes:
        name: of the model.
        runs: at least one, in the order of time.
        ended: whether the model's runs have gone on in another track.
    """

    name: str
    runs: tuple[PastRun, ...]
    ended: bool = False

    @property
    def models(self) -> tuple[PastModel, ...]:
        """What each run found of the model."""
        return tuple(run.models[self.name] for run in self.runs)

    @property
    def stamp(self) -> Stamp:
        """What the numbers of the last run belong to."""
        return self.models[-1].stamp

    @property
    def judged(self) -> bool:
        """Whether there are enough runs to judge the last one, and it is of today's settings."""
        return len(self.runs) >= ENOUGH and not self.ended


def tracks(runs: Sequence[PastRun]) -> tuple[tuple[Track, ...], tuple[LeftOut, ...]]:
    """Sort runs, which are in the order of time, into tracks; copies of a run are left out."""
    originals, copies = _copies(runs)
    grouped: dict[tuple[Any, ...], list[PastRun]] = {}
    for run in originals:
        for name, model in run.models.items():
            key = (name, *(getattr(model.stamp, one) for one in COMPARABLE))
            grouped.setdefault(key, []).append(run)
    found = [Track(str(key[0]), tuple(group)) for key, group in grouped.items()]
    return tuple(_ended(found)), tuple(copies)


def _copies(runs: Sequence[PastRun]) -> tuple[list[PastRun], list[LeftOut]]:
    """The runs, and those that say of every model what another one says of the same moment."""
    originals, copies = list[PastRun](), list[LeftOut]()
    for run in runs:
        said = run.origin, run.models
        twin = next((one for one in originals if (one.origin, one.models) == said), None)
        if twin is None:
            originals.append(run)
        else:
            copies.append(LeftOut(run.file, f"it is a copy of {twin.file}"))
    return originals, copies


def _ended(found: Sequence[Track]) -> Iterator[Track]:
    """The tracks, those of one model side by side; a successor ends a track once it is judged itself."""
    for one in sorted(found, key=lambda track: (track.name, track.runs[0].order)):
        successors = _began_after(found, one)
        yield Track(one.name, one.runs, any(len(other.runs) >= ENOUGH for other in successors))


def _began_after(found: Iterable[Track], one: Track) -> list[Track]:
    last = one.runs[-1].order
    return [other for other in found if other.name == one.name and other.runs[0].order > last]
