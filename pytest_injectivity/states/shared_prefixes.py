"""Chooses which prompts share the computation of a common beginning.

Sorted by their ids, prompts with a common beginning are neighbors, and every maximal run of them with
its longest common prefix is a node of a tree. Sharing at a node saves the prefix for all but one of its
prompts; the best set of nodes, none inside another, follows from the leaves upwards. Prefixes are cut to
multiples of `GRAIN` tokens, so that batches keep their canonical shapes (`batches`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_injectivity.states.batches import GRAIN

LEAST_SAVING = 2048
"""Tokens that a shared prefix must save: it costs one more forward pass and batches of its own."""


@dataclass(frozen=True)
class Group:
    """Prompts that are computed together.

    Attributes:
        rows: indexes of the prompts.
        shared: token ids they all begin with and are computed once; each prompt is longer.
    """

    rows: tuple[int, ...]
    shared: tuple[int, ...] = ()

    @classmethod
    def all_of(cls, prompts: Sequence[Sequence[int]]) -> "Group":
        """All prompts, nothing shared."""
        return cls(tuple(range(len(prompts))))


@dataclass(frozen=True)
class _Run:
    """A run of sorted prompts with a common prefix, and what sharing it would save."""

    start: int
    stop: int
    prefix: int

    @property
    def saving(self) -> int:
        return self.prefix * (self.stop - self.start - 1)


def group_by_prefix(
    prompts: Sequence[Sequence[int]], *, least_saving: int = LEAST_SAVING, grain: int = GRAIN
) -> tuple[Group, ...]:
    """Groups that cover every prompt once; those that share nothing worthwhile are the last group.

    Args:
        prompts: distinct token id sequences, at least one id each.
        least_saving: tokens that sharing must save.
        grain: the lengths of shared prefixes are multiples of this.
    """
    order = sorted(range(len(prompts)), key=lambda row: tuple(prompts[row]))
    groups, alone = [], set(order)
    for run in _best_runs([prompts[row] for row in order], least_saving, grain):
        rows = tuple(order[run.start : run.stop])
        groups.append(Group(rows, tuple(prompts[rows[0]][: run.prefix])))
        alone -= set(rows)
    if alone:
        groups.append(Group(tuple(sorted(alone))))
    return tuple(groups)


def _best_runs(ordered: Sequence[Sequence[int]], least_saving: int, grain: int) -> list[_Run]:
    """The runs to share at, by one sweep over the common prefixes of neighbors."""
    # The stack holds open runs: where each began, its prefix, and what was chosen inside it.
    stack: list[tuple[int, int, list[_Run]]] = [(0, 0, [])]
    for stop in range(1, len(ordered) + 1):
        last = stop == len(ordered)
        common = 0 if last else _usable_prefix(ordered[stop - 1], ordered[stop], grain)
        start: int = stop - 1
        inside: list[_Run] = []
        while stack[-1][1] > common:
            start, prefix, inside = stack.pop()
            inside = _choose(_Run(start, stop, prefix), inside, least_saving)
            if stack[-1][1] >= common:
                stack[-1][2].extend(inside)
                inside = []
        if stack[-1][1] < common:
            stack.append((start, common, inside))
    return stack[0][2]


def _choose(run: _Run, inside: list[_Run], least_saving: int) -> list[_Run]:
    """A finished run, or the runs within it, whichever saves more."""
    pays = run.saving >= least_saving
    return [run] if pays and run.saving >= sum(part.saving for part in inside) else inside


def _usable_prefix(left: Sequence[int], right: Sequence[int], grain: int) -> int:
    """The common prefix of neighbors, short of either's last token, which must be run itself."""
    most = min(len(left), len(right)) - 1
    common = next((at for at in range(most) if left[at] != right[at]), most)
    return common // grain * grain
