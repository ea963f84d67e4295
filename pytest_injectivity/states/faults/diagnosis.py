"""Diagnoses the states of a prompt: finders are asked in turn, the first that finds something is heard.

The order is from what needs no model, over what another hypothesis explains wholly, to what only says
that nothing explains it. So a fault is named by what it is and not by what follows from it.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.text import number_of
from pytest_injectivity.states.faults.arithmetic import (
    computed_coarser,
    rounded_cache,
    stored_coarser,
)
from pytest_injectivity.states.faults.base import Case, Fault, Kind, named, relative
from pytest_injectivity.states.faults.layers import (
    another_layer,
    missing_residual,
    transposed_axes,
)
from pytest_injectivity.states.faults.rows import (
    model_not_finite,
    not_finite,
    other_rows,
    shuffled_positions,
    zero_rows,
)
from pytest_injectivity.states.faults.tokens import (
    bos_left_out,
    left_padding,
    shifted_positions,
    shuffled_tokens,
    without_frame,
)


def another_model(case: Case) -> Iterator[Fault]:
    """Nothing explains the states: they are not this model's."""
    for layer in case.misfits:
        off = {
            one: float(relative(case.theirs[layer], own).median()) for one, own in case.own.items()
        }
        nearest = min(off, key=off.__getitem__)
        words = f"not this model's: {show(off[layer], 2)} of the norm off"
        where = "it, too, is the nearest" if nearest == layer else f"nearest is {named(nearest)}"
        yield Fault(
            Kind.MODEL,
            layer,
            words,
            f"{named(layer)} of the file is {show(off[layer])} of the norm from the model's, where"
            f" {show(case.bounds[layer])} is accepted; {where}, {show(off[nearest])}: another model,"
            " other weights, or arithmetic that is coarser than is said",
        )


FINDERS: tuple[Callable[[Case], Iterator[Fault]], ...] = (
    not_finite,
    model_not_finite,
    zero_rows,
    without_frame,
    another_layer,
    transposed_axes,
    missing_residual,
    bos_left_out,
    left_padding,
    shifted_positions,
    shuffled_positions,
    shuffled_tokens,
    stored_coarser,
    rounded_cache,
    other_rows,
    computed_coarser,
    another_model,
)


@dataclass(frozen=True)
class Finding:
    """A fault of a sample of prompts.

    Attributes:
        fault: as the first prompt shows it.
        prompts: how many show it, at the same layer.
        sampled: of how many that were looked at.
    """

    fault: Fault
    prompts: int
    sampled: int

    @property
    def line(self) -> str:
        """The finding as a sentence."""
        return f"{self.fault.line} (in {self.prompts} of {number_of(self.sampled, 'prompt')} looked at)"


def diagnose(case: Case) -> tuple[Fault, ...]:
    """The faults of one prompt's states, by the first finder that finds any; none of sound ones."""
    for finder in FINDERS:
        if found := tuple(finder(case)):
            return found
    return ()


def findings(faults: Sequence[Sequence[Fault]]) -> tuple[Finding, ...]:
    """The faults of a sample, the most frequent first.

    Args:
        faults: those of each prompt.
    """
    counted = Counter((one.kind, one.layer) for of in faults for one in of)
    first = {(one.kind, one.layer): one for of in reversed(faults) for one in reversed(of)}
    return tuple(Finding(first[key], count, len(faults)) for key, count in counted.most_common())
