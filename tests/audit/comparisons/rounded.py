"""A model whose weights are rounded, the child of the model before, and all checks of the pair."""

from typing import Any

from pytest_injectivity import Audit
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import (
    round_weights,
    tiny_decoder,
)

IDS = [[at, 5 * at % 64, 7, at * at % 64] for at in range(40)]


def rounded(bits: int = 5, **settings: Any) -> Decoder:
    """A tiny model, its weights rounded."""
    return round_weights(tiny_decoder(**settings), bits)


def all_checks(audit: Audit) -> list[Any]:
    """The checks of an audit that compare it with its reference."""
    return [
        lambda: audit.check_state_drift_below(relative=0.35),
        audit.check_no_new_collisions,
        lambda: audit.check_margin_retained(fraction=0.5),
        lambda: audit.check_colipschitz_retained(fraction=0.5),
        lambda: audit.check_not_read_by_reference(1, 0.999, prompts=2, tokens=3),
    ]
