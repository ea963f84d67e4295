"""Checks that return a verdict, and their ``assert_`` twins that raise it.

Every check judges the layers asked for and gives one joint verdict that names each failing one. A
threshold is one number or differs by layer: ``{":3": 1e-4, "norm": 1e-2}``. A layer whose rows are
not all finite fails with that as its reason. A gate judges the point value unless ``confidence`` is
given; then it is PASS, FAIL or INSUFFICIENT (which is red), Holm-corrected over the layers.
"""

from collections.abc import Mapping

from pytest_injectivity.audit.checks.arguments import (
    REQUIRED,
    at_least,
    at_most,
    count,
    fraction,
    optional_confidence,
    share_at_least,
)
from pytest_injectivity.audit.checks.collisions import judge_collisions
from pytest_injectivity.audit.checks.continuations import judge_continuations
from pytest_injectivity.audit.checks.external import Reading, judge_external_states
from pytest_injectivity.audit.checks.one_step import judge_one_step
from pytest_injectivity.audit.checks.quantiles import (
    judge_colipschitz,
    judge_distortion,
    judge_margin,
)
from pytest_injectivity.audit.checks.recovery import Attempt, judge_recovery
from pytest_injectivity.audit.gates import Gates, asserting, quantile, settled
from pytest_injectivity.core.layers import LayerSpec
from pytest_injectivity.core.tolerances import PerLayer
from pytest_injectivity.quantization.grid import GridLike
from pytest_injectivity.results.verdict import Verdict


class Assertions(Gates):
    """The checks of one model on one prompt set."""

    def check_no_collisions(
        self,
        layer: LayerSpec | None = None,
        eps: PerLayer[float | str] = 0.0,
        *,
        bits: GridLike | None = None,
    ) -> Verdict:
        """No two prompts have equal states, states that cannot be told apart, or states within eps.

        Args:
            layer: the layers judged.
            eps: absolute, or ``"1e-5 rel"`` of the layer's mean norm; below the noise floor it is
                decided at the noise floor (SPEC section 2).
            bits: round the captured states to so many bits first ([VS] figure 4), or to another `Grid`,
                as text: ``"4 asymmetric per-token"``, ``"8 per-channel clip=99.9"``.

        Raises:
            LayerError: the model has no such layer.
            OptionError: eps or bits are not accepted.
        """
        tolerances = self._tolerances(eps, layer)
        return self._verdict("no_collisions", judge_collisions(self, tolerances, bits))

    def check_no_continuation_collisions(
        self,
        layer: LayerSpec | None = None,
        eps: PerLayer[float | str] = 0.0,
        *,
        prompts: int = 10,
    ) -> Verdict:
        """No two one-token continuations of a prompt collide, over the whole vocabulary.

        Of the prompts that come closest to another, every continuation by a token of the tokenizer,
        and of those all pairs ([N] figure 4). What is a collision, unresolved or near is that of
        `check_no_collisions`; comparing nothing fails.

        Args:
            layer: the layers judged.
            eps: absolute, or ``"1e-5 rel"`` of the layer's mean norm over the prompt set; below the
                noise floor it is decided at the noise floor (SPEC section 2).
            prompts: how many prompts, those of smallest nearest-neighbour distance at the deepest
                layer asked for; all where the set has fewer. One that fills the context is passed
                over and counted.

        Raises:
            LayerError: the model has no such layer.
            OptionError: eps or prompts is not accepted.
        """
        tolerances = self._tolerances(eps, layer)
        reasons = judge_continuations(self, tolerances, count("prompts", prompts))
        return self._verdict("no_continuation_collisions", reasons)

    def check_one_step_distinct(
        self, layer: LayerSpec | None = None, eps: PerLayer[float | str] = 0.0
    ) -> Verdict:
        """No two tokens collide where no prompt is needed: exhaustive over the vocabulary.

        At layer 0 the rows of the input embedding; at every other layer the states of all tokens put
        first, and after the special tokens that the tokenizer puts before a text. What is a
        collision, unresolved or near is that of `check_no_collisions`.

        Args:
            layer: the layers judged; None: layer 0 and those of the config.
            eps: absolute, or ``"1e-5 rel"`` of the mean norm of the states compared; below the noise
                floor of their position it is decided at the noise floor (SPEC section 2).

        Raises:
            LayerError: the model has no such layer.
            OptionError: eps is not accepted.
        """
        if layer is None and not isinstance(eps, Mapping):
            layer = f"0,{self.config.layers}"
        return self._verdict(
            "one_step_distinct", judge_one_step(self, self._tolerances(eps, layer))
        )

    def check_margin_above(
        self,
        layer: LayerSpec | None = None,
        margin: PerLayer[float] = REQUIRED,
        *,
        q: float = 0.01,
        normalized: bool = False,
        confidence: float | None = None,
        bits: GridLike | None = None,
    ) -> Verdict:
        """The separation margin ``m_{l,q}`` is at least ``margin`` (SPEC section 2).

        Args:
            layer: the layers judged.
            margin: in the states' units, or of the mean norm when normalized.
            q: the lower quantile of nearest-neighbour distances; 0 is their minimum.
            normalized: divide by the layer's mean norm.
            confidence: judge what the sample proves instead of the point value.
            bits: round the captured states to so many bits first, or to a `Grid` as text.

        Raises:
            LayerError: the model has no such layer.
            OptionError: a number is not accepted.
        """
        asked = quantile(q, normalized, confidence, bits)
        bounds = self._by_layer("margin", at_least("margin", margin), layer)
        judged = [judge_margin(self, one, bounds[one], asked) for one in bounds]
        return self._verdict("margin_above", settled(judged, confidence))

    def check_colipschitz_above(
        self,
        layer: LayerSpec | None = None,
        alpha: PerLayer[float] = REQUIRED,
        *,
        q: float = 0.01,
        normalized: bool = False,
        confidence: float | None = None,
        bits: GridLike | None = None,
    ) -> Verdict:
        """The co-Lipschitz constant ``alpha_{l,q}`` is at least ``alpha`` (SPEC section 2).

        Args:
            layer: the layers judged.
            alpha: state distance per unit of prompt distance; of the mean norm when normalized.
            q: the lower quantile of the rows' smallest ratios; 0 is their minimum.
            normalized: divide by the layer's mean norm.
            confidence: judge what the sample proves instead of the point value.
            bits: round the captured states to so many bits first, or to a `Grid` as text.

        Raises:
            LayerError: the model has no such layer.
            OptionError: a number is not accepted, or fewer than two prompts have an admissible
                partner.
        """
        asked = quantile(q, normalized, confidence, bits)
        bounds = self._by_layer("alpha", at_least("alpha", alpha), layer)
        judged = [judge_colipschitz(self, one, bounds[one], asked) for one in bounds]
        return self._verdict("colipschitz_above", settled(judged, confidence))

    def check_bilipschitz_within(
        self,
        layer: LayerSpec | None = None,
        distortion: PerLayer[float] = REQUIRED,
        *,
        q: float = 0.01,
    ) -> Verdict:
        """Upper over lower Lipschitz constant is at most ``distortion`` (SPEC section 2).

        Args:
            layer: the layers judged; None: those of the config.
            distortion: the largest ``A_l / alpha_l`` accepted.
            q: both constants leave this share of rows out.

        Raises:
            LayerError: the model has no such layer.
            OptionError: a number is not accepted.
        """
        q = fraction("q", q)
        bounds = self._by_layer("distortion", at_most("distortion", distortion), layer)
        return self._verdict(
            "bilipschitz_within", [judge_distortion(self, one, bounds[one], q) for one in bounds]
        )

    def check_sipit_recovers(
        self,
        layer: LayerSpec | None = None,
        *,
        min_rate: float = 1.0,
        confidence: float | None = None,
        prompts: int = 20,
        tokens: int = 20,
        policy: str = "lens",
        certify: int = 100,
    ) -> Verdict:
        """SipIt recovers prompts from their hidden states, token by token, and verifies them.

        A prompt counts when every token is right and every position verified (SPEC section 4).

        Args:
            layer: the layers judged.
            min_rate: the least share of prompts recovered.
            confidence: judge what the sample proves; not with ``min_rate=1.0``, which nothing proves.
            prompts: how many prompts, drawn by hash from those with enough tokens.
            tokens: their length; longer prompts are cut to it.
            policy: ``lens``, ``lm-order``, ``gradient`` or ``random``; orders the candidates only.
            certify: positions a layer that are certified by a pass over the whole vocabulary.

        Raises:
            LayerError: the model has no such layer.
            OptionError: a number or the policy is not accepted, or too few prompts are long enough.
        """
        attempt = Attempt(
            min_rate=share_at_least("min_rate", min_rate),
            confidence=optional_confidence(confidence),
            prompts=count("prompts", prompts),
            tokens=count("tokens", tokens),
            policy=policy,
            certify=count("certify", certify, least=0),
        )
        layers = self.resolve(self.config.layers if layer is None else layer)
        judged = [judge_recovery(self, one, attempt) for one in layers]
        return self._verdict("sipit_recovers", settled(judged, confidence))

    def check_states_recoverable(
        self,
        *,
        min_rate: float = 1.0,
        confidence: float | None = None,
        policy: str | None = None,
        certify: int = 100,
    ) -> Verdict:
        """The states in ``--injx-states`` can be read with this model, at the layer the file names.

        A prompt counts when every position is verified and, where the file has its ids, every token
        is right. The tolerance is the file's observation error, or an estimate of it from the first
        tokens, and never the local noise floor alone (SPEC section 4). States of another model or
        layer fail as such.

        Args:
            min_rate: the least share of prompts read.
            confidence: judge what the sample proves; not with ``min_rate=1.0``, which nothing proves.
            policy: orders the candidates only; None: as SipIt does.
            certify: positions that are certified by a pass over the whole vocabulary.

        Raises:
            OptionError: no file is named, it is not accepted or does not fit the model, or a number
                or the policy is not accepted.
        """
        asked = Reading(
            min_rate=share_at_least("min_rate", min_rate),
            confidence=optional_confidence(confidence),
            policy=policy,
            certify=count("certify", certify, least=0),
        )
        judged = [judge_external_states(self, asked)]
        return self._verdict("states_recoverable", settled(judged, confidence))

    assert_no_collisions = asserting(check_no_collisions)
    assert_no_continuation_collisions = asserting(check_no_continuation_collisions)
    assert_one_step_distinct = asserting(check_one_step_distinct)
    assert_margin_above = asserting(check_margin_above)
    assert_colipschitz_above = asserting(check_colipschitz_above)
    assert_bilipschitz_within = asserting(check_bilipschitz_within)
    assert_sipit_recovers = asserting(check_sipit_recovers)
    assert_states_recoverable = asserting(check_states_recoverable)
