"""Predicts the phases of an audit: what each is, its token-forwards, bytes and seconds.

The counts follow from the sizes: a capture runs the batches that are planned for it, a search compares
all pairs, a certificate is one pass over the vocabulary. What depends on the states (how many candidates
SipIt tests, how many edit distances a search needs) is what was typical of the models in docs/log.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pytest_injectivity.core.layers import Layer, depth, layer_id
from pytest_injectivity.core.text import number_of
from pytest_injectivity.inversion.lens_calibration import calibration_size
from pytest_injectivity.inversion.limits import CERTIFIED_POSITIONS, InversionLimits
from pytest_injectivity.plan.attack_work import AttackWork, Walk
from pytest_injectivity.plan.capture_work import Passes, capture_passes
from pytest_injectivity.plan.rates import Rates, Search
from pytest_injectivity.plan.sizes import Sizes
from pytest_injectivity.results.plan import Phase
from pytest_injectivity.states.batches import GRAIN, padded_length
from pytest_injectivity.states.last_states import WAYS
from pytest_injectivity.states.resolution_sample import choose_sample

PROMPTS_BY_LAYER, TOKENS_BY_LAYER = 16, 32
"""The most prompts, and tokens of each, that the divergence by layer is measured on, each by itself."""

LAYERS_BY_LAYER = 12
"""The most layers that it is measured at."""

# Tokens that a guess and its correction run for each token recovered (docs/log.md).
_FORWARDS_A_TOKEN = 2.0
# Of an answer that rivals make ambiguous: it and its rivals, each in eight ways, which take so many
# passes. In half precision about one answer a prompt is ambiguous (docs/log.md).
_RIVALS, _PASSES_A_RIVAL = 9, 3
# Passes of a prompt near the resolution, one alone and six that at least two prompts share, and how
# often they run it: capture has made one of the ways, and the last three run it once.
_PASSES_EVALUATED, _TIMES_EVALUATED = 4, 5
# Of a resolution's sample: how often a whole prompt is run, padding included; the prompts that share its
# passes, and these; how often a window is run; and the passes and tokens of all else in either part.
_RUNS, _ALIKE, _PASSES_ALIKE, _WINDOW_RUNS, _OTHER_PASSES, _OTHER_TOKENS = 3.0, 3, 2, 2, 9, 400
# How often a single token is run, the rows of such a pass, the passes of tokens by themselves, and the
# tokens compared with float64.
_SINGLES, _SINGLES_A_PASS, _BY_THEMSELVES, _EXACT_SINGLES = 2, 160, 108, 64
# A layer's table needs, beside the search of all rows, those of the half and the quarter (`trend`).
_TREND = 1 + 1 / 4 + 1 / 16
_BATCH_TOKENS = 4096
# Sweeps over the weights in which the passes of a resolution are done (docs/log.md).
_SWEEPS = 11
# A row compared with a vocabulary alone takes longer than as one of many.
_ALONE = 4.0
# Seconds that a logit of both models takes, their product and its log-softmax in float64 (docs/log.md).
_A_LOGIT = 6e-8
# What an attacker's look costs whatever it compares, in passes through one block.
_BLOCKS_A_LOOK = 2.0
_FEWER = "--injx-max-prompts"


@dataclass(frozen=True)
class Costs:
    """Predicts phases for a model, its prompts and a machine.

    Attributes:
        sizes: of the model.
        prompts: token ids.
        rates: of the machine.
        batch_tokens: tokens of one pass of a capture.
        streamed: the blocks' weights stay on disk: a capture reads them once, every other pass again.
    """

    sizes: Sizes
    prompts: Sequence[Sequence[int]]
    rates: Rates
    batch_tokens: int
    streamed: bool = False

    @cached_property
    def capture_passes(self) -> Passes:
        """The passes of the prompts."""
        return capture_passes(
            self.prompts, batch_tokens=self.batch_tokens, context=self.sizes.context
        )

    def capture(self, layers: Sequence[Layer], *, whose: str = "") -> Phase:
        """The capture of the last-token states at some layers.

        Args:
            layers: the layers.
            whose: names the model where it is not the one audited.
        """
        passes = self.capture_passes
        return Phase(
            name=f"hidden states{whose}",
            what=f"{number_of(len(self.prompts), 'prompt')} at {_layers(layers)}",
            seconds=self._forward(
                Passes(1, passes.tokens) if self.streamed else passes, max(layers, key=depth)
            ),
            token_forwards=passes.tokens,
            bytes=len(self.prompts) * len(layers) * self.sizes.state_bytes,
            shorter_by=f"{_FEWER}, --injx-length, a shallower deepest layer (--injx-layers)",
        )

    def neighbors(self, layers: Sequence[Layer], *, whose: str = "") -> Phase:
        """The nearest neighbors of all rows, with those of the trend."""
        return self._of_pairs(f"nearest neighbors{whose}", self.rates.neighbors, layers)

    def ratios(self, layers: Sequence[Layer], *, whose: str = "") -> Phase:
        """The co-Lipschitz constants of all rows, with those of the trend."""
        return self._of_pairs(f"co-Lipschitz constants{whose}", self.rates.ratios, layers)

    def sipit(self, layer: Layer, *, prompts: int, tokens: int, certify: int | None) -> Phase:
        """The inversion of prompts at one layer, and the certificates of some of its positions.

        Args:
            layer: the layer.
            prompts: how many.
            tokens: of each.
            certify: positions that are compared with the whole vocabulary; None: as many as cost
                what the recovery does.
        """
        positions, vocab = prompts * tokens, self.sizes.vocab
        calibration = calibration_size(vocab, self.sizes.hidden, positions)
        forwards = positions + calibration + round(_FORWARDS_A_TOKEN * positions)
        tabled = vocab <= InversionLimits().largest_table
        # The first position is certified by the table.
        most = CERTIFIED_POSITIONS if certify is None else certify
        certified = min(most, positions) * (1 - tabled / tokens)
        if certify is None:
            certified = min(certified, -(-(forwards + tabled * vocab) // vocab))
        candidates = round(vocab * (tabled + certified))
        ambiguous = prompts if self.sizes.is_half else 0
        forwards += _RIVALS * len(WAYS) * ambiguous * -(-tokens // 2)
        count = prompts + 2 * tokens + -(-calibration // _BATCH_TOKENS)
        count += _RIVALS * _PASSES_A_RIVAL * ambiguous
        passes = Passes(count, forwards)
        seconds = self._forward(passes, layer)
        seconds += candidates * self.rates.candidate * self.sizes.share(layer)
        return Phase(
            name=f"SipIt {layer_id(layer)}",
            what=(
                f"{number_of(prompts, 'prompt')} of {number_of(tokens, 'token')},"
                f" {number_of(round(certified), 'pass', 'passes')} over the"
                f" vocabulary of {vocab:,}"
            ),
            seconds=seconds,
            token_forwards=forwards + candidates,
            shorter_by="certify=, prompts= and tokens= of the check",
        )

    def cross(self, layer: Layer, *, prompts: int, tokens: int) -> Phase:
        """The inversion of a child's states by its parent, twice: by argmin and by ball.

        Args:
            layer: the layer.
            prompts: how many.
            tokens: of each.
        """
        one = self.sipit(layer, prompts=prompts, tokens=tokens, certify=0)
        # The nearest token of all is found by testing all; those of the first position are one table.
        candidates = prompts * (tokens - 1) * self.sizes.vocab
        seconds = candidates * self.rates.candidate * self.sizes.share(layer)
        return Phase(
            name=f"cross inversion {layer_id(layer)}",
            what=(
                f"{number_of(prompts, 'prompt')} of {number_of(tokens, 'token')} by argmin and by"
                " ball, all of the vocabulary of"
                f" {self.sizes.vocab:,} at each position"
            ),
            seconds=2 * one.seconds + seconds,
            token_forwards=2 * one.token_forwards + candidates,
            shorter_by="prompts= and tokens= of the check",
        )

    def next_tokens(self, *, prompts: int, tokens: int) -> Phase:
        """The comparison of a child's next-token distributions with its parent's.

        Args:
            prompts: how many prompts are read at most.
            tokens: how many tokens of each.
        """
        chosen = [min(len(ids), tokens) for ids in self.prompts[:prompts]]
        read = sum(map(padded_length, chosen))
        few = [min(length, TOKENS_BY_LAYER) for length in chosen[:PROMPTS_BY_LAYER]]
        # The child's pass, the parent's, and one from the states of each layer.
        times = 2 + min(self.sizes.n_layers + 1, LAYERS_BY_LAYER)
        passes = Passes(
            2 * -(-read // _BATCH_TOKENS) + times * len(few), 2 * read + times * sum(few)
        )
        logits = (sum(chosen) + times * sum(few)) * self.sizes.vocab
        return Phase(
            name="next tokens",
            what=(
                f"{number_of(len(chosen), 'prompt')} of at most {number_of(tokens, 'token')} by both"
                f" models, all of the vocabulary of {self.sizes.vocab:,} at each position"
            ),
            seconds=self._forward(passes, "norm") + logits * _A_LOGIT,
            token_forwards=passes.tokens,
            shorter_by="prompts= and tokens= of the check",
        )

    def attacks(self, walk: Walk) -> Phase:
        """The attacks on releases, and the passes that go on from them.

        Args:
            walk: the releases, which share the passes.
        """
        vocab, count = self.sizes.vocab, len(walk.places)
        work = AttackWork.of(walk, vocab)
        deepest = max((one.layer for one in walk.places), key=depth)
        utility = Passes(walk.prompts * (count + 1), walk.prompts * (count + 1) * walk.tokens)
        seconds = work.candidates * self.rates.candidate * self.sizes.share(deepest)
        seconds += work.compared * self.rates.neighbors.pair * _ALONE
        seconds += work.looks * _BLOCKS_A_LOOK * self.rates.forward / self.sizes.n_layers
        seconds += self._forward(utility, "norm")
        return Phase(
            name=f"attacks on {number_of(count, 'release')}",
            what=(
                f"{number_of(walk.prompts, 'prompt')} of"
                f" {number_of(walk.tokens, 'token')}, {walk.free_running} free-running,"
                f" {'likely candidates' if walk.pruned(vocab) else 'all'} of the vocabulary of"
                f" {vocab:,} at each position"
            ),
            seconds=seconds,
            token_forwards=work.candidates + utility.tokens,
            bytes=vocab * self.sizes.state_bytes,
            shorter_by="prompts=, tokens=, free_running= and budget= of the check, fewer releases",
        )

    def evaluations(self, lengths: Sequence[int], layers: Sequence[Layer]) -> Phase:
        """The evaluations of prompts near the resolution in eight ways.

        Args:
            lengths: tokens of each prompt.
            layers: the layers.
        """
        # Prompts of one token share all passes but the one in which a prompt is alone.
        singles = sum(one == 1 for one in lengths)
        passes = _PASSES_EVALUATED * (len(lengths) - singles) + singles
        tokens = _TIMES_EVALUATED * sum(map(padded_length, lengths)) + GRAIN * len(lengths)
        return Phase(
            name="pairs near the resolution",
            what=f"{number_of(len(lengths), 'prompt')} in {len(WAYS)} ways at {_layers(layers)}",
            seconds=self._forward(Passes(passes, tokens), max(layers, key=depth)),
            token_forwards=tokens,
            shorter_by=f"{_FEWER}, --injx-layers",
        )

    def tables(
        self, layers: Sequence[Layer], *, places: int, name: str, tokens: int | None = None
    ) -> Phase:
        """Tables of the one-step map over the whole vocabulary, all pairs compared.

        Args:
            layers: the layers.
            places: how many tables a layer has.
            name: of the phase.
            tokens: of a table; None: the vocabulary.
        """
        vocab = tokens or self.sizes.vocab
        deepest = max(layers, key=depth)
        seconds = places * vocab * self.rates.candidate * self.sizes.share(deepest)
        seconds += places * len(layers) * self.rates.neighbors.seconds(vocab)
        return Phase(
            name=name,
            what=f"{number_of(places, 'table')} of {number_of(vocab, 'token')} at {_layers(layers)}",
            seconds=seconds,
            token_forwards=places * vocab,
            bytes=vocab * self.sizes.state_bytes,
            shorter_by="layer= and prompts= of the check",
        )

    def positions(self, prompts: int, positions: int) -> int:
        """So many positions of so many prompts, or as many as there are."""
        lengths = sorted(map(len, self.prompts), reverse=True)[:prompts]
        return sum(min(one, positions) for one in lengths)

    def jacobians(self, layers: Sequence[Layer], *, places: int) -> Phase:
        """Jacobians of the one-step map in a float64 copy.

        Args:
            layers: the layers: a pass to the deepest, and two backward passes from each.
            places: positions of prompts, each with as many rows as the width.
        """
        rows = places * self.sizes.hidden
        shares = [self.sizes.share(one) for one in layers]
        times = max(shares) + 2 * sum(shares)
        seconds = rows * self.rates.token * self.rates.float64 * times
        return Phase(
            name="local contraction",
            what=(
                f"{number_of(places, 'position')}, {self.sizes.hidden} rows of each in a float64 copy,"
                f" with two backward passes from {_layers(layers)}"
            ),
            seconds=seconds,
            token_forwards=round(rows * times),
            bytes=8 * self.sizes.parameters,
            shorter_by="layer=, prompts= and positions= of the check",
        )

    def resolution(self, layers: Sequence[Layer], *, whose: str = "") -> Phase:
        """The evaluations of a sample of prompts in every way, and in float64.

        Args:
            layers: the layers.
            whose: names the model where it is not the one audited.
        """
        sample = choose_sample(self.prompts, self.sizes.vocab, self.sizes.context)
        count = tokens = 0
        for part, windows in (
            (sample.prompts, sample.windows),
            (sample.held_out, sample.held_out_windows),
        ):
            count += _PASSES_ALIKE * -(-len(part) // _ALIKE) + _OTHER_PASSES
            tokens += round(_RUNS * sum(map(len, part))) + _OTHER_TOKENS
            tokens += _WINDOW_RUNS * sum(map(len, windows))
        exact = sum(map(len, sample.windows[: sample.exact]))
        prompts = len(sample.prompts) + len(sample.held_out)
        what = number_of(prompts, "prompt")
        return self._evaluations(f"resolution{whose}", what, Passes(count, tokens), exact, layers)

    def first_resolution(self, layers: Sequence[Layer], *, whose: str = "") -> Phase:
        """The same at position 0, of single tokens; see `resolution`."""
        sample = choose_sample(self.prompts, self.sizes.vocab, self.sizes.context)
        singles = len(sample.singles) + len(sample.held_out_singles)
        tokens = _SINGLES * singles
        exact = min(len(sample.singles), _EXACT_SINGLES)
        passes = Passes(-(-tokens // _SINGLES_A_PASS) + _BY_THEMSELVES, tokens)
        what = number_of(singles, "single token")
        return self._evaluations(f"resolution of position 0{whose}", what, passes, exact, layers)

    def _evaluations(
        self, name: str, what: str, passes: Passes, exact: int, layers: Sequence[Layer]
    ) -> Phase:
        """Passes in several ways, and of so many tokens in float64 where a copy can be made."""
        what = f"{what} at {_layers(layers)}"
        if self.streamed:
            swept = Passes(min(passes.count, _SWEEPS), passes.tokens)
            seconds = self._forward(swept, max(layers, key=depth))
            return Phase(name, what, seconds, token_forwards=passes.tokens)
        seconds = self._forward(passes, max(layers, key=depth))
        return Phase(
            name=name,
            what=f"{what}, some in a float64 copy",
            seconds=seconds + exact * self.rates.token * self.rates.float64,
            token_forwards=passes.tokens + exact,
            bytes=8 * self.sizes.parameters,
        )

    def _of_pairs(self, name: str, search: Search, layers: Sequence[Layer]) -> Phase:
        """A search over all pairs of rows at some layers, with those of the trend."""
        rows = len(self.prompts)
        return Phase(
            name=name,
            what=f"{number_of(rows, 'row')} at {_layers(layers)}",
            seconds=len(layers) * _TREND * search.seconds(rows),
            shorter_by=f"{_FEWER}, --injx-layers",
        )

    def in_float64(self, passes: float, tokens: float) -> float:
        """Seconds of passes through all blocks of a float64 copy, with so many tokens all together."""
        return passes * self.rates.forward + tokens * self.rates.token * self.rates.float64

    def _forward(self, passes: Passes, layer: Layer) -> float:
        share = self.sizes.share(layer)
        return share * (passes.count * self.rates.forward + passes.tokens * self.rates.token)


def _layers(layers: Sequence[Layer]) -> str:
    return layer_id(layers[0]) if len(layers) == 1 else f"{len(layers)} layers"
