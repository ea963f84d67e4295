"""Attacks on tiny decoders, for the tests of the attackers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pytest_injectivity.config.release_spec import parse
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.evaluation.attack import run_attacks
from pytest_injectivity.privacy.evaluation.cases import AttackCase
from pytest_injectivity.privacy.evaluation.results import AttackedRelease, AttackResult
from pytest_injectivity.privacy.releases.binding import bind
from pytest_injectivity.privacy.releases.examples import observe_together
from pytest_injectivity.privacy.releases.observed import observe_place
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.privacy.search.one_step_tables import measure_floor


def drawn_prompts(
    count: int, length: int, *, vocab: int = 64, seed: int = 0
) -> tuple[tuple[int, ...], ...]:
    """Prompts whose tokens are all equally likely."""
    drawn = np.random.default_rng(seed).integers(0, vocab, (count, length))
    return tuple(tuple(row) for row in drawn.tolist())


def case(
    decoder: Decoder,
    place: str,
    releases: Sequence[str] | Mapping[str, Release],
    prompts: Sequence[Sequence[int]],
    *,
    attacker: Decoder | None = None,
    practice: Sequence[Sequence[int]] = (),
    known: Sequence[Sequence[int]] = (),
    queries: int = 1,
) -> AttackCase:
    """Releases at a place, written as steps, an attacker's floor, and what it learns from."""
    observed = observe_place(decoder, parse(f"identity@{place}").place, prompts)
    if not isinstance(releases, Mapping):
        releases = {text: bind(parse(f"{text}@{place}"), observed) for text in releases}
    practised, given = (
        observe_together(one, [observed.place], prompts)[observed.place] if prompts else None
        for one, prompts in ((attacker or decoder, practice), (decoder, known))
    )
    # A mean is no one-step map.
    states = replace(observed.place, mean=False, answer=False)
    evaluated = observe_place(decoder, states, prompts[:1]) if observed.place.averaged else observed
    floor = measure_floor(attacker or decoder, evaluated, prompts=1)
    return AttackCase(observed, releases, floor, practised, given, queries)


def attacks(
    decoder: Decoder,
    place: str,
    releases: Sequence[str] | Mapping[str, Release],
    prompts: Sequence[Sequence[int]],
    **settings: Any,
) -> dict[tuple[str, str, bool], AttackResult]:
    """The results of all attacks, by release, attacker and whether it was teacher-forced."""
    return by_name(
        run_attacks(decoder, [case(decoder, place, releases, prompts)], seed=0, **settings)
    )


def by_name(found: Sequence[AttackedRelease]) -> dict[tuple[str, str, bool], AttackResult]:
    """The results of all attacks, by release, attacker and whether it was teacher-forced."""
    return {
        (release.release, attack.attacker, attack.teacher_forced): attack
        for release in found
        for attack in release.attacks
    }
