"""Checks of what is shared: who can read the prompt from it, and is it still of use (SPEC section 5).

audit.assert_not_recoverable("gaussian(sigma=1.0 rel)@4", max_token_rate=0.4)
audit.assert_utility_kept("round(bits=4)@4", min_agreement=0.9)
audit.sweep("round(bits=?)@4", [2, 3, 4, 8], max_token_rate=0.4, min_agreement=0.9).both
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias, Union, Unpack

from pytest_injectivity.audit.checks.arguments import (
    REQUIRED,
    optional_confidence,
    share_at_least,
    share_at_most,
)
from pytest_injectivity.audit.checks.sharing import is_hidden, judge_hidden, judge_use
from pytest_injectivity.audit.gates import Gates, asserting
from pytest_injectivity.audit.keys import ReleaseResultKey
from pytest_injectivity.audit.release_size import Size, SizeOptions
from pytest_injectivity.config.release_place import Place
from pytest_injectivity.config.release_spec import ReleaseSpec, filled, parse
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.releases import CurvePoint, PrivacyCurve, ReleaseSummary
from pytest_injectivity.results.verdict import Verdict
from pytest_injectivity.stats import check_confidence

if TYPE_CHECKING:
    from pytest_injectivity.privacy.evaluation.results import ReleaseResult
    from pytest_injectivity.privacy.releases.custom import CustomRelease

ReleaseLike: TypeAlias = Union[str, ReleaseSpec, "CustomRelease"]
"""A text of the grammar, or a release of one's own."""

Releases: TypeAlias = ReleaseLike | Sequence[ReleaseLike]

_PROMPTS, _TOKENS, _FREE_RUNNING = 50, 20, 20
_NOTES = (
    "judged on every attacker; what these do not read another one may: not broken, not private",
)
_SHORT = 3


class Sharing(Gates):
    """The checks of releases.

    Releases that are asked for in one call, at one number of prompts and tokens, share their passes. A
    check of a release that the config names measures all that the config names.
    """

    def exposures(
        self, releases: Releases, **size: Unpack[SizeOptions]
    ) -> tuple["ReleaseResult", ...]:
        """What every attacker reads of releases, and what use is left of each.

        Args:
            releases: one or more, at any places.
            size: on how much they are measured; see `SizeOptions`.

        Returns:
            One a release, in the order given.

        Raises:
            OptionError: a release is not accepted, or too few prompts are long enough.
            LayerError: the model has no such layer.
            ModelError: the model caches no keys and values.
        """
        asked = [self._parsed(one) for one in _each(releases)]
        if not asked:
            raise OptionError("no release is named: give at least one, such as identity@4")
        sizes = [_size(_place(one), size) for one in asked]
        for own in dict.fromkeys(sizes):
            self._measure(
                [one for one, wanted in zip(asked, sizes, strict=True) if wanted == own], own
            )
        return tuple(self._exposed[_key(one), own] for one, own in zip(asked, sizes, strict=True))

    def _with_the_configs(
        self, releases: Releases, size: SizeOptions
    ) -> tuple["ReleaseResult", ...]:
        """The results of some releases; where they are among the config's, all of these share passes.

        Tests that use ``injx_release`` ask for one release of the config after the other.
        """
        asked = [self._parsed(one) for one in _each(releases)]
        config = [self._parsed(text) for text in self.config.release]
        if {_key(one) for one in asked} <= {_key(one) for one in config}:
            sizes = {_size(_place(one), size) for one in asked}
            asked += [
                one for one in config if one not in asked and _size(_place(one), size) in sizes
            ]
        return self.exposures(asked, **size)[: len(_each(releases))]

    def check_not_recoverable(
        self,
        release: Releases,
        max_token_rate: float = REQUIRED,
        *,
        confidence: float | None = 0.95,
        **size: Unpack[SizeOptions],
    ) -> Verdict:
        """No attacker reads more than a share of the tokens from what is released.

        Judged on every attacker: the upper end of each one's interval is at most the rate. A verifier
        that accepts nothing has read nothing, and proves nothing: the attackers that always answer
        count as much.

        Args:
            release: one or more, as texts (``"round(bits=4)@4"``, ``"identity@-1 kv"``) or releases of
                one's own.
            max_token_rate: the largest share of tokens that may be read. A language model guesses
                some without any state; the verdict says how many.
            confidence: of the intervals, clustered by prompt; None: point values are judged.
            prompts, tokens: see `exposures`.

        Raises:
            OptionError: a number or a release is not accepted, or too few prompts are long enough.
            LayerError: the model has no such layer.
            ModelError: the model caches no keys and values.
        """
        most = share_at_most("max_token_rate", max_token_rate)
        confidence = optional_confidence(confidence)
        found = self._with_the_configs(release, size)
        reasons = [judge_hidden(one, most, confidence) for one in found]
        return self._verdict("not_recoverable", reasons, _NOTES)

    def check_utility_kept(
        self,
        release: Releases,
        min_agreement: float = REQUIRED,
        *,
        confidence: float | None = None,
        **size: Unpack[SizeOptions],
    ) -> Verdict:
        """The pass that goes on from what the receiver has prefers the same next tokens.

        Args:
            release: see `check_not_recoverable`.
            min_agreement: the least share of positions at which it does.
            confidence: judge what the sample proves.
            prompts, tokens: see `exposures`.

        Raises:
            OptionError: a number or a release is not accepted, nothing goes on from what is observed,
                or too few prompts are long enough.
            LayerError: the model has no such layer.
            ModelError: the model caches no keys and values.
        """
        least = share_at_least("min_agreement", min_agreement)
        confidence = optional_confidence(confidence)
        found = self._with_the_configs(release, size)
        reasons = [judge_use(one, least, confidence) for one in found]
        return self._verdict("utility_kept", reasons)

    assert_not_recoverable = asserting(check_not_recoverable)
    assert_utility_kept = asserting(check_utility_kept)

    def sweep(
        self,
        release: str,
        strengths: Iterable[float | str],
        *,
        max_token_rate: float,
        min_agreement: float,
        confidence: float = 0.95,
        **size: Unpack[SizeOptions],
    ) -> PrivacyCurve:
        """A release at several strengths: where, if anywhere, do privacy and use both hold?

        Args:
            release: a text with ``?`` where the strength stands: ``"gaussian(sigma=? rel)@4"``.
            strengths: numbers or texts.
            max_token_rate: as for `check_not_recoverable`, judged on upper bounds.
            min_agreement: as for `check_utility_kept`, judged on the point value.
            confidence: of the bounds.
            prompts, tokens: see `exposures`.

        Raises:
            OptionError: a number, the text or a strength is not accepted.
            LayerError: the model has no such layer.
            ModelError: the model caches no keys and values.
        """
        max_token_rate = share_at_most("max_token_rate", max_token_rate)
        min_agreement = share_at_least("min_agreement", min_agreement)
        check_confidence(confidence)
        given = [str(one) for one in strengths]
        found = self.exposures([filled(release, one) for one in given], **size)
        summaries = [one.summary(confidence) for one in found]
        return PrivacyCurve(
            release=release,
            subject=self.run_summary().subject,
            max_token_rate=float(max_token_rate),
            min_agreement=float(min_agreement),
            confidence=confidence,
            points=tuple(
                CurvePoint(
                    strength, one, is_hidden(one, max_token_rate), _useful(one, min_agreement)
                )
                for strength, one in zip(given, summaries, strict=True)
            ),
        )

    @property
    def exposed(self) -> tuple["ReleaseResult", ...]:
        """What was measured of releases so far."""
        return tuple(self._exposed.values())

    @cached_property
    def _exposed(self) -> dict[tuple[object, Size], "ReleaseResult"]:
        return {}

    def _parsed(self, release: ReleaseLike) -> "ReleaseSpec | CustomRelease":
        """A text as a recipe whose layer counts from the first, so that it has one name."""
        from pytest_injectivity.privacy.releases.custom import CustomRelease

        if isinstance(release, CustomRelease):
            return release
        recipe = release if isinstance(release, ReleaseSpec) else parse(release)
        return replace(recipe, place=recipe.place.resolved(self.n_layers))

    def _measure(self, asked: Sequence["ReleaseSpec | CustomRelease"], size: Size) -> None:
        """Measures what is new, texts by way of the store."""
        new = {_key(one): one for one in asked if (_key(one), size) not in self._exposed}
        # What a function does, and what another checkpoint holds, is in no key: nothing is kept of it.
        kept = size.attacker is None
        texts = {key: one for key, one in new.items() if kept and isinstance(one, ReleaseSpec)}
        prompts, tokens, free_running, _ = size
        found = self._entry.remember_each(
            {
                key: ReleaseResultKey(
                    str(one), prompts, tokens, free_running, seed=self.config.seed
                )
                for key, one in texts.items()
            },
            lambda missing: self._expose([texts[key] for key in missing], size),
        )
        if others := [one for key, one in new.items() if key not in texts]:
            found |= self._expose(others, size)
        for key, exposure in found.items():
            self._exposed[key, size] = exposure

    def _expose(
        self, releases: Sequence["ReleaseSpec | CustomRelease"], size: Size
    ) -> dict[object, "ReleaseResult"]:
        from pytest_injectivity.audit.release_evaluation import expose

        found = expose(self, releases, size)
        return {_key(one): exposure for one, exposure in zip(releases, found, strict=True)}


def _each(releases: Releases) -> list[ReleaseLike]:
    return list(releases) if isinstance(releases, (list, tuple)) else [releases]  # type: ignore[list-item] # one


def _place(release: "ReleaseSpec | CustomRelease") -> Place:
    return release.place if isinstance(release, ReleaseSpec) else release.at


def _size(place: Place, given: SizeOptions) -> Size:
    tokens = given.get("tokens")
    default = _SHORT if place.last else _TOKENS
    return Size(
        prompts=given.get("prompts", _PROMPTS),
        tokens=default if tokens is None else tokens,
        free_running=given.get("free_running", _FREE_RUNNING),
        attacker=given.get("attacker"),
    )


def _key(release: "ReleaseSpec | CustomRelease") -> object:
    """The text says all of a recipe; one's own release is itself."""
    return str(release) if isinstance(release, ReleaseSpec) else release


def _useful(summary: ReleaseSummary, min_agreement: float) -> bool | None:
    if summary.agreement is None:
        return None
    # Without finite numbers nothing was agreed on.
    return summary.divergence is not None and summary.agreement.value >= min_agreement
