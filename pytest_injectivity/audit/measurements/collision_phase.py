"""What searches for colliding changes of weights are predicted to take."""

from collections.abc import Mapping
from statistics import median_low
from typing import TYPE_CHECKING

from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.core.text import number_of
from pytest_injectivity.results.plan import Phase

if TYPE_CHECKING:
    from pytest_injectivity.plan.costs import Costs
    from pytest_injectivity.plan.sizes import Sizes
    from pytest_injectivity.theory.search_work import SearchWork


def search_work(sizes: "Sizes", over: str | int, roundings: int) -> "SearchWork":
    """What searches in a model of these sizes compute and hold.

    Args:
        sizes: of the model.
        over: the weights that may change.
        roundings: of them, that a change is compared with.
    """
    from pytest_injectivity.theory.search_work import SearchWork

    return SearchWork(
        n_layers=sizes.n_layers,
        hidden=sizes.hidden,
        vocab=sizes.vocab,
        parameters=sizes.parameters,
        block_parameters=sizes.block_parameters,
        over=over,
        roundings=roundings,
    )


def collision_phase(
    costs: "Costs", pairs: Mapping[Layer, int], over: str | int, *, roundings: int
) -> Phase:
    """The searches for changes at which the closest pairs of each layer collide.

    The pairs are not known before: prompts of the median length and a typical number of steps are
    assumed, between the shortest prompts that collide as they are, and the longest and most steps.

    Args:
        costs: predicts passes.
        pairs: how many of each layer.
        over: the weights that may change; ``block``: each layer's own.
        roundings: which a change is compared with.
    """
    from pytest_injectivity.theory.search_work import MOST_STEPS, STEPS

    work = search_work(costs.sizes, over, roundings)
    lengths = list(map(len, costs.prompts))
    told = []
    for steps, length in zip(STEPS, (min(lengths), median_low(lengths), max(lengths)), strict=True):
        each = [(count, work.step(layer, 2 * length)) for layer, count in pairs.items()]
        passes = sum(count * one.passes for count, one in each)
        tokens = sum(count * one.tokens for count, one in each)
        # The weights as they are take a step's work too.
        times = steps + 1
        told.append((costs.in_float64(times * passes, times * tokens), times * tokens))
    least, typical, most = told
    return Phase(
        name="colliding changes",
        what=(
            f"{_places(pairs)}, over {over}: {STEPS[1]} steps assumed,"
            f" at most {MOST_STEPS}, in a float64 copy"
        ),
        seconds=typical[0],
        token_forwards=round(typical[1]),
        bytes=work.bytes,
        shorter_by="over=, pairs= and layer= of the check, --injx-length",
        between=(least[0], most[0]),
    )


def _places(pairs: Mapping[Layer, int]) -> str:
    """How many pairs are looked at, and where."""
    if len(pairs) == 1:
        ((layer, count),) = pairs.items()
        return f"{number_of(count, 'pair')} of prompts at {layer_id(layer)}"
    counts = set(pairs.values())
    if len(counts) == 1:
        return f"{number_of(counts.pop(), 'pair')} of prompts at each of {len(pairs)} layers"
    return f"{sum(pairs.values())} pairs of prompts at {len(pairs)} layers"
