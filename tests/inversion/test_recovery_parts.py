"""An inversion in parts is that of one process, whichever worker does which part."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from pytest_injectivity.errors import OptionError
from pytest_injectivity.inversion.limits import InversionLimits
from pytest_injectivity.inversion.own_states import observe
from pytest_injectivity.inversion.recovery import Inversion
from pytest_injectivity.inversion.recovery_parts import Asked, Part, recover_in_parts
from pytest_injectivity.inversion.sipit import recover_all
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.states.scaled import Scale, Scales
from pytest_injectivity.testing import plant_equal_embeddings, tiny_decoder
from tests.executors import InTurn
from tests.inversion.observing import drawn

LAYER = 2
# Two prompts of six tokens at a time.
FEW = InversionLimits(cached_bytes=2 * 2 * 16 * 4 * 12)
SMALL = replace(FEW, largest_table=8)
SLOW = pytest.mark.slow


@dataclass(frozen=True)
class Fresh:
    """A job that does each part as another worker would that has done none."""

    asked: Asked

    def __call__(self, part: Part) -> Any:
        """Does it."""
        return part.run(self.asked.sipit(model()))


@dataclass(frozen=True)
class Kept:
    """A job that does all parts in one worker."""

    asked: Asked

    def __call__(self, part: Part) -> Any:
        """Does it."""
        name = repr(self.asked.settings)
        if name not in KEPT:
            KEPT.clear()
            KEPT[name] = self.asked.sipit(model())
        return part.run(KEPT[name])


KEPT: dict[str, Any] = {}


def model() -> Decoder:
    """A model with twins, one of them in the prompts."""
    decoder = tiny_decoder("llama", seed=3)
    plant_equal_embeddings(decoder, 5, 9)
    return decoder


def untimed(found: Inversion) -> str:
    """All that was found; NaN is NaN."""
    recoveries = tuple(replace(one, seconds=0.0) for one in found.recoveries)
    return repr(replace(found, seconds=0.0, recoveries=recoveries))


@pytest.mark.parametrize(
    ("asked", "job"),
    [
        pytest.param({"eps": 1e-4, "limits": FEW}, Kept, marks=SLOW),
        pytest.param({"eps": 3.0, "limits": FEW, "known": (5,)}, Fresh, marks=SLOW),
        pytest.param({"eps": 3.0, "limits": FEW, "certify": 12}, Fresh, marks=SLOW),
        pytest.param(
            {"eps": 1e-4, "limits": replace(FEW, largest_table=8), "certify": 1},
            Fresh,
            marks=SLOW,
        ),
        pytest.param({"eps": 1e-4, "policy": "random", "certify": 2}, Fresh, marks=SLOW),
        ({"eps": 3.0, "limits": FEW, "evaluate": True, "scales": True, "certify": 6}, Fresh),
        ({"eps": 1e-4, "limits": FEW, "certify": 1}, Kept),
    ],
    ids=[
        "lens",
        "changed",
        "changed and drawn",
        "searched",
        "random",
        "changed and ambiguous",
        "one worker",
    ],
)
def test_the_inversion_is_that_of_one_process(
    asked: dict[str, Any], job: Callable[[Asked], Callable[[Part], Any]]
) -> None:
    """Answers that certificates change, ambiguous ones, and their counts too, to the last bit."""
    prompts = [(5, *ids[: 2 + at]) for at, ids in enumerate(drawn(3, 4, seed=1))]
    decoder = model()
    states = [observe(decoder, ids, [LAYER])[LAYER] for ids in prompts]
    if asked.get("scales"):
        scale = Scale(torch.cat(states).double().std(dim=0).numpy())
        asked = {**asked, "scales": Scales(scale, scale)}
    executor = InTurn()
    found = recover_in_parts(executor, job, prompts, LAYER, **asked)
    assert untimed(recover_all(decoder, states, LAYER, **asked)) == untimed(found)
    assert executor.ran >= 2


def test_what_is_not_accepted_is_refused_in_parts_too() -> None:
    """In the words of one process."""
    with pytest.raises(OptionError, match=r"0 prompts to invert, certify=None"):
        recover_in_parts(InTurn(), Fresh, [], LAYER, eps=1.0)
    with pytest.raises(OptionError, match="states of 1 positions, the first 1 of them known"):
        recover_in_parts(InTurn(), Fresh, [(5,)], LAYER, eps=1.0, known=(5,))


def test_a_layer_from_the_end_is_named_by_its_number() -> None:
    """As one process names it."""
    prompts = [(5, *ids) for ids in drawn(2, 3, seed=1)]
    found = recover_in_parts(InTurn(), Fresh, prompts, -1, eps=1e-4, certify=0, limits=FEW)
    assert model().n_layers == found.layer


def test_progress_ends_where_that_of_one_process_does() -> None:
    """At two steps a prompt, and never goes back."""
    done: list[int] = []
    prompts = drawn(4, 3)
    recover_in_parts(
        InTurn(), Fresh, prompts, LAYER, eps=1e-4, limits=FEW, certify=0, progress=done.append
    )
    assert (sorted(done), 8) == (done, done[-1])
