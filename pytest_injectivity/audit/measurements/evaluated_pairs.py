"""Decides pairs of prompts by evaluation, told of before it begins and while it goes on."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_injectivity.audit.target.target import Target
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.core.progress import UNCOUNTED

if TYPE_CHECKING:
    from torch import Tensor

    from pytest_injectivity.states.pair_decisions import Decision, Pair
    from pytest_injectivity.states.resolution import LayerResolution


def evaluate_pairs(
    target: Target,
    prompts: Sequence[Sequence[int]],
    pairs: "Mapping[Layer, Sequence[Pair]]",
    resolutions: "Mapping[Layer, LayerResolution]",
    *,
    captured: "Callable[[Layer], Tensor] | None" = None,
) -> "Mapping[Layer, list[Decision]]":
    """Decides the pairs of each layer as `pair_decisions.decide_pairs` does.

    Args:
        target: the model, and the watcher that is told.
        prompts: token ids.
        pairs: by layer, indexes into ``prompts``.
        resolutions: of the same layers.
        captured: the states of all prompts at a layer as captured, where they are.
    """
    from pytest_injectivity.states.pair_decisions import decide_pairs

    evaluated = sorted({prompt for some in pairs.values() for pair in some for prompt in pair})
    lengths = [len(prompts[one]) for one in evaluated]
    target.foretelling.before(lambda costs: costs.evaluations(lengths, list(pairs)))
    known = captured and {
        layer: dict(zip(evaluated, captured(layer)[evaluated], strict=True)) for layer in pairs
    }
    with target.watcher.progress("pairs near the resolution", UNCOUNTED):
        return decide_pairs(target.decoder, prompts, pairs, resolutions, captured=known)
