"""All measurements of a model on a prompt set, each computed once, when it is first asked for."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from pytest_injectivity.audit.keys import (
    MinimalEditExistsKey,
    MinimalEditsKey,
    TokenClassesKey,
)
from pytest_injectivity.audit.measurements.contractions import Contractions
from pytest_injectivity.audit.measurements.diagnoses import Diagnoses
from pytest_injectivity.audit.measurements.discriminants import Discriminants
from pytest_injectivity.audit.measurements.doubtful_pairs import Blur, DoubtfulPairs, Doubts
from pytest_injectivity.audit.measurements.float64_copies import Float64Copies, free_bytes
from pytest_injectivity.audit.measurements.layer_states import LayerStates
from pytest_injectivity.audit.measurements.layer_summaries import LayerSummaries
from pytest_injectivity.audit.measurements.repetitions import Repetitions
from pytest_injectivity.audit.measurements.resolutions import Resolutions
from pytest_injectivity.audit.measurements.searched_by_workers import searchers
from pytest_injectivity.audit.target.target import Target, by_depth
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.errors import OptionError
from pytest_injectivity.quantization.grid import GridLike
from pytest_injectivity.results.summary import LayerSummary, Trend

if TYPE_CHECKING:
    from torch import Tensor

    from pytest_injectivity.audit.measurements.served_sample import ServedSample
    from pytest_injectivity.geometry.layer import LayerGeometry
    from pytest_injectivity.geometry.search.ratios import Ratios
    from pytest_injectivity.inversion.continuation_search import ContinuationSearch
    from pytest_injectivity.inversion.token_classes import TokenClasses
    from pytest_injectivity.prompts.metrics import PairDistances
    from pytest_injectivity.states.diagnosis import Diagnosis, Pair
    from pytest_injectivity.states.external import ExternalStates
    from pytest_injectivity.states.resolution import LayerResolution
    from pytest_injectivity.states.served import ServedStates
    from pytest_injectivity.store.entry import Entry


class Measurements:
    """The measurements of a model on a prompt set.

    Args:
        target: the model and the prompt set.

    Attributes:
        target: as given.
        layers: the states and the geometry of each layer.
        repetitions: the ladders of repeated tokens.
        discriminants: how far the weights are from a collision.
        contractions: how much one step contracts.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.layers = LayerStates(target)
        self._float64 = Float64Copies(target)
        self._resolutions = Resolutions(target, self._float64)
        self._doubts = Doubts(self.layers, self._resolutions)
        self._diagnoses = Diagnoses(target, self._float64)
        self.repetitions = Repetitions(target, self._resolutions, self._float64)
        self.discriminants = Discriminants(target, self._float64)
        self.contractions = Contractions(target, self._float64)
        self._summaries = LayerSummaries(self.layers, self._resolutions, self._doubts)
        self._edits: dict[Layer, Ratios] = {}
        self._served_geometry: dict[Layer, LayerGeometry] = {}

    def expect(self, layers: Iterable[Layer]) -> None:
        """Measure these layers in the same passes as the first of them, and as those of the config."""
        self.target.expect(layers)

    @cached_property
    def has_minimal_edit(self) -> bool:
        """Whether two prompts of the set, admissible for its metric, are one edit apart."""
        from pytest_injectivity.prompts.edits import has_minimal_edit

        same_length = self.prompt_distances.metric.equal_lengths_only
        return self.target.remember(
            MinimalEditExistsKey(same_length),
            lambda: has_minimal_edit(self.target.prompts.ids, same_length=same_length),
        )

    @cached_property
    def continuations(self) -> "ContinuationSearch":
        """Searches the states of all one-token continuations of a prompt for close pairs."""
        return self._search(self.target.entry)

    @cached_property
    def one_step(self) -> "ContinuationSearch":
        """Searches the states of all tokens after given ids; kept with the model, not the prompt set."""
        return self._search(self.target.kept.of_model(self.target.rounded))

    @cached_property
    def token_classes(self) -> "TokenClasses":
        """The vocabulary's classes of equal embedding rows; kept with the model."""
        from pytest_injectivity.inversion.token_classes import token_classes

        return self.target.kept.model.remember(
            TokenClassesKey(), lambda: token_classes(self.target.decoder)
        )

    @cached_property
    def external_states(self) -> "tuple[ExternalStates, ...]":
        """The states captured elsewhere that the config names, layer by layer, fit for this model.

        Raises:
            OptionError: none are named, or the file is not accepted.
        """
        from pytest_injectivity.states.external import read_states
        from pytest_injectivity.states.served import is_served

        path = self._states_path()
        if is_served(path):
            return tuple(self.served.at(layer) for layer in self.served.layers)
        return (read_states(path, self.target.facts),)

    @cached_property
    def served(self) -> "ServedStates":
        """The states captured elsewhere that the config names, with the ids of their prompts.

        Raises:
            OptionError: none are named, or a file is not accepted or does not fit the model.
            MissingExtra: their layout needs a library that is not installed.
        """
        from pytest_injectivity.states.served import read_served

        return read_served(self._states_path(), self.target.facts)

    @cached_property
    def served_sample(self) -> "ServedSample":
        """What a sample of the states captured elsewhere is found to be, with the model."""
        from pytest_injectivity.audit.measurements.served_sample import served_sample

        return served_sample(self.target, self._resolutions, self.served)

    def served_geometry(self, layer: Layer) -> "LayerGeometry":
        """The geometry of the last-token states captured elsewhere, at a layer that they are of.

        It is computed from the files' own values and not kept between runs.
        """
        from pytest_injectivity.geometry.layer import LayerGeometry
        from pytest_injectivity.prompts.metrics import PromptMetric

        if layer not in self._served_geometry:
            self.target.use("prompt_metric")
            metric = PromptMetric.parse(self.target.config.prompt_metric)
            self._served_geometry[layer] = LayerGeometry(
                layer,
                self.served.last(layer),
                self.served.prompts.distances(metric),
                executor=searchers(self.target),
            )
        return self._served_geometry[layer]

    def _states_path(self) -> str:
        self.target.use("states")
        if self.target.config.states is None:
            raise OptionError(
                "no states captured elsewhere are named: give --injx-states=PATH, or"
                " AuditConfig(states=PATH), a file or a folder"
            )
        return self.target.config.states

    def states(self, layer: Layer) -> "Tensor":
        """The last-token states ``H_l``: ``(prompts, hidden)``, on the CPU, in the model's dtype."""
        return self.layers.states(layer)

    def geometry(self, layer: int | str, *, bits: GridLike | None = None) -> "LayerGeometry":
        """The geometry of a layer, after post-hoc activation quantization where bits are given.

        Args:
            layer: one layer.
            bits: a number of bits, or what `Grid` reads, such as ``"4 asymmetric per-token"``.

        Raises:
            LayerError: the model has no such layer, or the text names several.
            OptionError: the bits are not accepted.
        """
        return self.layers.geometry(layer, bits=bits)

    def lost_prompts(self, layer: Layer) -> list[int]:
        """Indexes of the prompts whose states at a layer hold a NaN or an infinity."""
        lost: list[int] = (~self.states(layer).isfinite().all(dim=1)).nonzero().flatten().tolist()
        return lost

    def is_finite(self, layer: Layer) -> bool:
        """Whether the states of a layer, and its resolution, are finite."""
        if self.lost_prompts(layer):
            return False
        resolution = self.resolution(layer)
        positions = {min(len(ids) - 1, 1) for ids in self.target.prompts.ids}
        return all(math.isfinite(resolution.at(position)) for position in positions)

    def resolution(self, layer: Layer) -> "LayerResolution":
        """The resolution of a layer over a sample of the prompts."""
        return self._resolutions.of(layer)

    def doubtful(self, layers: Sequence[Layer]) -> Mapping[Layer, DoubtfulPairs]:
        """The pairs near the resolution of layers whose rows are finite, decided by evaluation."""
        return self._doubts.of(layers)

    def blur(self, layer: Layer) -> Blur | None:
        """Whether the resolution of a layer whose rows are finite tells no states apart."""
        return self._doubts.blur(layer)

    def diagnoses(
        self, pairs: Mapping[Layer, "Sequence[Pair]"]
    ) -> Mapping[tuple[Layer, "Pair"], "Diagnosis"]:
        """The diagnoses of colliding pairs of prompts, by layer; see `Diagnoses.of`."""
        return self._diagnoses.of(pairs)

    def exact_distances(
        self, pairs: Mapping[Layer, "Sequence[Pair]"], *, at_any_cost: bool
    ) -> Mapping[tuple[Layer, "Pair"], float]:
        """The distances of pairs of prompts in true float64; see `Diagnoses.exact_distances`."""
        return self._diagnoses.exact_distances(pairs, at_any_cost=at_any_cost)

    def no_float64(self) -> str:
        """Why no float64 copy of the model can be had; empty where one can."""
        return self._float64.why_none()

    def layer_summary(self, layer: int | str, bits: GridLike | None = None) -> LayerSummary:
        """The numbers of a layer as plain data, after activation quantization where bits are given."""
        return self._summaries.of(layer, bits)

    def trend(self, layer: int | str) -> Trend:
        """How margin and co-Lipschitz constant fell from N/4 to N/2 to N prompts (SPEC section 2)."""
        return self._summaries.trend(layer)

    @property
    def measured(self) -> tuple[tuple[Layer, int | str | None], ...]:
        """The layers whose geometry has been asked for, and on which grid (None: unrounded)."""
        return self.layers.measured

    @property
    def decided(self) -> frozenset[Layer]:
        """The layers whose pairs near the resolution have been asked for."""
        return self._doubts.decided

    @property
    def prompt_distances(self) -> "PairDistances":
        """The prompt metric over the prompt set."""
        return self.layers.prompt_distances

    def minimal_edits(self, layer: Layer) -> "Ratios":
        """For each prompt of a sample, how far one changed token moves the state, per edit."""
        if layer not in self._edits:
            from pytest_injectivity.audit.measurements.minimal_edits import edit_ratios

            metric, seed = self.prompt_distances.metric, self.target.config.seed
            wanted = by_depth(self.target.together(layer) - self._edits.keys())
            self._edits |= self.target.entry.remember_each(
                {one: MinimalEditsKey(one, metric.value, seed) for one in wanted},
                lambda missing: edit_ratios(
                    self.target.decoder, self.target.prompts, metric, missing, seed
                ),
            )
        return self._edits[layer]

    def _search(self, entry: "Entry") -> "ContinuationSearch":
        from pytest_injectivity.inversion.continuation_search import ContinuationSearch

        return ContinuationSearch(
            lambda: self.target.decoder,
            lambda: self.token_classes,
            lambda: free_bytes(self.target.kept.device),
            entry.remember_each,
            executor=searchers(self.target),
        )
