"""The prompts that attackers learn from, none of which an attack is judged by.

They are the prompts of the set that follow those judged. Where the set has too few to practise on,
sequences in which every token is equally likely take their place: anybody can make these.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pytest_injectivity.audit.measurements.recovery import known_tokens
from pytest_injectivity.config.release_place import Place
from pytest_injectivity.core.shapes import Int64
from pytest_injectivity.errors import OptionError
from pytest_injectivity.inversion.lens_calibration import usable_tokens
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.releases.examples import observe_together
from pytest_injectivity.privacy.releases.observed import Observed

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.audit.releases.release_size import Size

# Tells these draws from others of the same seed.
_DRAWN = 17

_Ids = tuple[tuple[int, ...], ...]


def learned_from(
    measured: "Measurements", attacker: Decoder, size: "Size", places: Sequence[Place]
) -> dict[Place, tuple[Observed | None, Observed | None]]:
    """What attackers practise on, and what they know beforehand, at each place.

    Args:
        measured: the model whose states are released, and the prompt set.
        attacker: the attackers' model, which practice runs through.
        size: how many prompts of both kinds.
        places: of the releases.

    Raises:
        OptionError: the prompt set has too few prompts to know ``known`` beside those judged.
    """
    truths, known, practice = _divided(measured, size)
    drawn = _drawn(
        usable_tokens(attacker).numpy(),
        (size.practice - len(practice), size.tokens),
        known_tokens(measured, truths),
        measured.target.config.seed,
    )
    taken = {*truths, *known, *practice}
    practice += tuple(ids for ids in drawn if ids not in taken)
    practised, given = (
        observe_together(decoder, places, prompts) if prompts else {}
        for decoder, prompts in ((attacker, practice), (measured.target.decoder, known))
    )
    return {place: (practised.get(place), given.get(place)) for place in places}


def _divided(measured: "Measurements", size: "Size") -> tuple[_Ids, _Ids, _Ids]:
    """The prompts judged, those known beforehand, and those of practice, drawn as one sample."""
    needed = size.prompts + size.known
    sample = measured.target.prompts.sample(
        needed + size.practice, size.tokens, at_least=size.prompts
    ).ids
    if len(sample) < needed:
        raise OptionError(
            f"known={size.known}: {len(sample)} prompts of {size.tokens} tokens differ, of which"
            f" {size.prompts} are judged: give at most {len(sample) - size.prompts}, or more prompts"
        )
    return sample[: size.prompts], sample[size.prompts : needed], sample[needed:]


def _drawn(
    usable: Int64[np.ndarray, " tokens"], shape: tuple[int, int], known: Sequence[int], seed: int
) -> _Ids:
    """Sequences behind the known tokens in which every token is equally likely, no two alike."""
    count, length = shape[0], shape[1] - len(known)
    if count <= 0 or length <= 0:
        return ()
    drawn = np.random.default_rng([seed, _DRAWN]).choice(usable, (count, length))
    return tuple(dict.fromkeys((*known, *row) for row in drawn.tolist()))
