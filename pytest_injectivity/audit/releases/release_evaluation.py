"""Measures releases: runs prompts, applies releases, attacks them, and runs their receiver's pass."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pytest_injectivity.audit.measurements.recovery import known_tokens
from pytest_injectivity.audit.releases.answer_texts import AnswerTexts
from pytest_injectivity.audit.releases.attacked_by_workers import attacked_by_workers
from pytest_injectivity.audit.releases.learning import learned_from
from pytest_injectivity.audit.releases.release_size import Size
from pytest_injectivity.audit.target.told_loading import load_told
from pytest_injectivity.config.release_place import Place
from pytest_injectivity.config.release_spec import ReleaseSpec
from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.privacy.evaluation.attack import BegunAttacks
from pytest_injectivity.privacy.evaluation.cases import AttackCase, AttackSettings
from pytest_injectivity.privacy.evaluation.results import AttackedRelease, ReleaseResult
from pytest_injectivity.privacy.evaluation.token_kinds import kinds_of
from pytest_injectivity.privacy.evaluation.utility import Utility, measure_utility, why_no_utility
from pytest_injectivity.privacy.releases.binding import bind, typical_coordinate
from pytest_injectivity.privacy.releases.checking import check_release
from pytest_injectivity.privacy.releases.custom import CustomRelease
from pytest_injectivity.privacy.releases.observed import Observed, observe_place
from pytest_injectivity.privacy.releases.protocol import Release
from pytest_injectivity.privacy.releases.registry import release_steps
from pytest_injectivity.privacy.search.one_step_tables import measure_floor

if TYPE_CHECKING:
    from pytest_injectivity.audit.measurements.measurements import Measurements
    from pytest_injectivity.plan.attack_work import Walk

_PRECISIONS = ("float32", "bfloat16", "float16", "float64")


@dataclass(frozen=True, eq=False)
class _Shared:
    """A release bound to the rows observed at its place.

    Attributes:
        name: of the release.
        observed: the rows.
        release: bound to them.
        shareable: whether it is the same in another process: a user's function need not be there, and
            what is made of the model by its gradients may differ in the last bits.
    """

    name: str
    observed: Observed
    release: Release
    shareable: bool


def expose(
    measured: "Measurements",
    releases: Sequence[ReleaseSpec | CustomRelease],
    size: Size,
) -> tuple[ReleaseResult, ...]:
    """Measures releases that share their passes.

    Args:
        measured: the model and the prompt set.
        releases: the releases, at any places.
        size: the number of prompts and tokens, and the attackers' model.

    Raises:
        OptionError: a release is no release of the prompts' rows, or too few prompts are long enough.
        LayerError: the model has no such layer.
        ModelError: the model caches no keys and values.
    """
    started = time.perf_counter()
    target = measured.target
    decoder, truths = target.decoder, target.prompts.sample(size.prompts, size.tokens).ids
    kinds = np.array([kinds_of(measured.target.tokenizer, ids) for ids in truths], dtype=np.int8)
    observed: dict[Place, Observed] = {}
    shared = []
    with measured.target.watcher.progress("what is released", len(releases)) as advance:
        for done, one in enumerate(releases, 1):
            at = one.place if isinstance(one, ReleaseSpec) else one.at
            place = at.resolved(decoder.n_layers)
            if place not in observed:
                known = known_tokens(measured, truths)
                observed[place] = observe_place(decoder, place, truths, known)
            shared.append(_bound(one, observed[place], measured.target.config.seed))
            advance(done)
    utilities = _utilities(measured, shared)
    attacks = _attacks(measured, shared, size)
    texts = AnswerTexts(target.tokenizer, truths, len(shared[0].observed.known))
    # The time of what releases have in common is shared evenly among them.
    seconds = (time.perf_counter() - started) / len(shared)
    return tuple(
        ReleaseResult(
            release=one.name,
            place=str(one.observed.place),
            typical=typical_coordinate(one.observed.rows, one.observed),
            noise=one.release.noise.rms,
            kinds=kinds,
            attacks=tuple(texts.judged(attack) for attack in found.attacks),
            utility=utility,
            no_utility=why_no_utility(decoder, one.observed.place, truths),
            robustness=found.robustness,
            seconds=seconds,
        )
        for one, found, utility in zip(shared, attacks, utilities, strict=True)
    )


def _bound(one: ReleaseSpec | CustomRelease, observed: Observed, seed: int) -> _Shared:
    name = str(one)
    if isinstance(one, ReleaseSpec):
        release, same = bind(one, observed), one.is_identity
        shareable = not any(release_steps()[step.name].of_states for step in one.steps)
    else:
        release, same, shareable = one.bind(observed, seed), False, False
    check_release(release, observed, seed, name, same=same)
    return _Shared(one.name, observed, release, shareable)


def _utilities(measured: "Measurements", shared: Sequence[_Shared]) -> list[Utility | None]:
    """The utility of each release; the releases of one place share their passes."""
    decoder, seed = measured.target.decoder, measured.target.config.seed
    found: list[Utility | None] = [None] * len(shared)
    for observed in {id(one.observed): one.observed for one in shared}.values():
        here = [at for at, one in enumerate(shared) if one.observed is observed]
        if why_no_utility(decoder, observed.place, observed.prompts):
            continue
        label = f"utility at {observed.place.name}"
        with measured.target.watcher.progress(label, len(observed.prompts)) as advance:
            releases = [shared[at].release for at in here]
            kept = measure_utility(decoder, observed, releases, seed, advance)
        for at, utility in zip(here, kept, strict=True):
            found[at] = utility
    return found


def _attacks(
    measured: "Measurements", shared: Sequence[_Shared], size: Size
) -> list[AttackedRelease]:
    """How much every attacker reads from each release; all attacks share their passes."""
    decoder, seed = _attackers_model(measured, size.attacker), measured.target.config.seed
    cases = []
    learned = learned_from(measured, decoder, size, list({one.observed.place for one in shared}))
    places = {id(one.observed): one.observed for one in shared}.values()
    with measured.target.watcher.progress("the attackers' resolution", len(places)) as advance:
        for done, observed in enumerate(places, 1):
            releases = {
                str(at): one.release for at, one in enumerate(shared) if one.observed is observed
            }
            floor = measure_floor(decoder, _everywhere(measured.target.decoder, observed))
            practised, given = learned[observed.place]
            cases.append(AttackCase(observed, releases, floor, practised, given, size.queries))
            advance(done)
    known, prompts = shared[0].observed.known, shared[0].observed.prompts
    measured.target.foretelling.before(lambda costs: costs.attacks(_walk(shared, size)))
    tokens = sum(len(one) - len(known) for one in prompts)
    with measured.target.watcher.progress("attacks", tokens) as advance:
        settings = AttackSettings(
            seed=seed,
            free_running=size.free_running,
            known=known,
            budget=size.budget,
            keep_ids=True,
        )
        attacked = None
        if size.attacker is None and all(one.shareable for one in shared):
            attacked = attacked_by_workers(measured.target, cases, settings, progress=advance)
        if attacked is None:
            begun = BegunAttacks(decoder, cases, settings)
            begun.run(range(len(prompts)), advance)
            attacked = begun.results()
    found = {one.release: one for one in attacked}
    return [found[str(at)] for at in range(len(shared))]


def _walk(shared: Sequence[_Shared], size: Size) -> "Walk":
    from pytest_injectivity.plan.attack_work import Walk

    observed = shared[0].observed
    return Walk(
        places=[one.observed.place for one in shared],
        prompts=len(observed.prompts),
        tokens=max(map(len, observed.prompts)),
        free_running=size.free_running,
        budget=size.budget,
    )


def _attackers_model(measured: "Measurements", named: str | None) -> Decoder:
    """The model that the attackers compute with.

    Raises:
        OptionError: it has another width or vocabulary than the sender's.
        ModelError: it cannot be loaded.
    """
    own, config = measured.target.decoder, measured.target.config
    if named is None:
        return own
    from pytest_injectivity.models.checkpoint import resolve

    precision = named in _PRECISIONS
    other = load_told(
        measured.target.checkpoint if precision else resolve(named),
        measured.target.watcher,
        dtype=named if precision else config.dtype,
        device=config.device,
    )
    sizes = [(one.hidden_size, one.vocab_size, one.n_layers) for one in (own, other)]
    if sizes[0] != sizes[1]:
        raise OptionError(
            f"attacker={one_line(named)!r} has width, vocabulary and layers {sizes[1]}, and the model"
            f" whose states are shared {sizes[0]}: give other weights of the same architecture, or one"
            f" of {', '.join(_PRECISIONS)}"
        )
    return other


def _everywhere(decoder: Decoder, observed: Observed) -> Observed:
    """What would be observed at the place if every position were released."""
    if observed.place.everywhere:
        return observed
    place = replace(observed.place, every=1, run=1, last=False, mean=False, answer=False)
    return observe_place(decoder, place, observed.prompts)
