"""Everything an audit measures, each thing once and only when a check or a report asks for it."""

import gc
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Unpack

from pytest_injectivity.audit.keys import (
    DiagnosisKey,
    EqualTogetherKey,
    MinimalEditExistsKey,
    MinimalEditsKey,
    NoiseFloorKey,
    TrendKey,
)
from pytest_injectivity.audit.target import Process, Subject
from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.core.layers import Layer, depth, layer_id
from pytest_injectivity.errors import OptionError
from pytest_injectivity.quantization.grid import Grid, GridLike
from pytest_injectivity.results.metrics import MeasuredLayer, measure
from pytest_injectivity.results.summary import LayerSummary, Trend

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from pytest_injectivity.geometry.layer import LayerGeometry
    from pytest_injectivity.geometry.search.ratios import Ratios
    from pytest_injectivity.inversion.continuation_search import ContinuationSearch
    from pytest_injectivity.prompts.metrics import PairDistances
    from pytest_injectivity.states.diagnosis import Diagnosis, Pair
    from pytest_injectivity.states.external import ExternalStates
    from pytest_injectivity.states.memory import Held
    from pytest_injectivity.states.resolution import NoiseFloor
    from pytest_injectivity.store.entry import Entry
    from pytest_injectivity.store.rows import Rows

_NOISE_SAMPLE = 16
# Bytes of the numbers that a geometry holds of each row: norms, neighbours, ratios, classes.
_ROW_NUMBERS = 64


class Measurements(Subject):
    """A model and a prompt set, and what is measured of them.

    Args and attributes are those of `Subject`.
    """

    def __init__(self, config: AuditConfig | None = None, **process: Unpack[Process]) -> None:
        super().__init__(config, **process)
        self._measured: dict[tuple[Layer, int | str | None], None] = {}
        self._noise: dict[Layer, NoiseFloor] = {}
        self._edits: dict[Layer, Ratios] = {}
        self._trends: dict[Layer, Trend] = {}
        self._diagnoses: dict[tuple[Layer, Pair], Diagnosis] = {}

    @cached_property
    def has_minimal_edit(self) -> bool:
        """Whether two prompts of the set, admissible for its metric, are one edit apart."""
        from pytest_injectivity.prompts.edits import has_minimal_edit

        same_length = self.prompt_distances.metric.equal_lengths_only
        return self.remember(
            MinimalEditExistsKey(same_length),
            lambda: has_minimal_edit(self.prompts.ids, same_length=same_length),
        )

    @cached_property
    def prompt_distances(self) -> "PairDistances":
        """The prompt metric over the prompt set."""
        from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric

        return PairDistances(PromptMetric.parse(self.config.prompt_metric), self.prompts.ids)

    @cached_property
    def continuations(self) -> "ContinuationSearch":
        """Every continuation of a prompt by one token, and how near two of them come."""
        return self._search(self._entry)

    @cached_property
    def one_step(self) -> "ContinuationSearch":
        """The same where no prompt of the set is needed: kept for the model, whatever the set."""
        return self._search(self._kept.of_model(self.rounded))

    @cached_property
    def external_states(self) -> "ExternalStates":
        """The states captured elsewhere that the config names, fit for this model.

        Raises:
            OptionError: none are named, or the file is not accepted.
        """
        from pytest_injectivity.states.external import read_states

        if self.config.states is None:
            raise OptionError(
                "no states captured elsewhere are named: give --injx-states=FILE, or"
                " AuditConfig(states=FILE)"
            )
        return read_states(self.config.states, self.facts)

    def states(self, layer: Layer) -> "Tensor":
        """The last-token states ``H_l``: ``(prompts, hidden)``, on the CPU, in the model's dtype.

        Read into memory where they fit ``memory_budget``, else memory-mapped.
        """
        held: Tensor | None = self._held.get(layer, "states")
        if held is not None:
            return held
        rows = self._rows.mapped(layer)
        while rows is None:
            # The first request captures every layer of the config in the same pass.
            self._capture({layer, *self.layers})
            rows = self._rows.mapped(layer)
        fits = rows.nbytes <= self._held.budget
        rows = rows.clone() if fits else rows
        self._held.put(layer, "states", rows, rows.nbytes if fits else 0)
        return rows

    def geometry(self, layer: int | str, *, bits: GridLike | None = None) -> "LayerGeometry":
        """The geometry of a layer, after post-hoc activation quantization where bits are given.

        Args:
            layer: one layer.
            bits: a number of bits, or what `Grid` reads, such as ``"4 asymmetric per-token"``.

        Raises:
            LayerError: the model has no such layer, or the text names several.
            OptionError: the bits are not accepted.
        """
        one = self.one_layer(layer)
        grid = None if bits is None else Grid.parse(bits)
        held: LayerGeometry | None = self._held.get(one, ("geometry", grid))
        if held is None:
            held = self._plain_geometry(one) if grid is None else self._on_grid(one, grid)
            # Rows that are the states' own are counted there.
            rows = 0 if grid is None and held.finite.all() else held.rows.nbytes
            self._held.put(one, ("geometry", grid), held, rows + _ROW_NUMBERS * len(held))
        self._measured[one, None if grid is None else grid.key] = None
        return held

    def noise(self, layer: Layer) -> "NoiseFloor":
        """The noise floor of a layer over a sample of the prompts."""
        if layer not in self._noise:
            sample = min(_NOISE_SAMPLE, len(self.prompts))
            wanted = _ordered({layer, *self.layers} - self._noise.keys())
            keys = {one: NoiseFloorKey(one, sample, float64=True) for one in wanted}
            exact = self._entry.known(keys.values()) or self._has_float64(
                "the noise floor leaves the distance to float64 out"
            )
            if not exact:
                keys = {one: replace(key, float64=False) for one, key in keys.items()}
            self._noise |= self._entry.remember_each(
                keys, partial(self._measure_noise, sample, exact=exact)
            )
        return self._noise[layer]

    def minimal_edits(self, layer: Layer) -> "Ratios":
        """For each prompt of a sample, how far one changed token moves the state, per edit."""
        if layer not in self._edits:
            from pytest_injectivity.audit.minimal_edits import edit_ratios

            metric, seed = self.prompt_distances.metric, self.config.seed
            wanted = _ordered({layer, *self.layers} - self._edits.keys())
            self._edits |= self._entry.remember_each(
                {one: MinimalEditsKey(one, metric.value, seed) for one in wanted},
                lambda missing: edit_ratios(self.decoder, self.prompts, metric, missing, seed),
            )
        return self._edits[layer]

    def equal_together(self, layer: Layer, pairs: "Sequence[tuple[int, int]]") -> list[bool]:
        """Whether the states of pairs of prompts are equal when computed in one shape.

        See `equal_when_evaluated_together`.
        """
        from pytest_injectivity.states.reevaluation import equal_when_evaluated_together

        if not pairs:
            return []
        return self.remember(
            EqualTogetherKey(layer, tuple((int(left), int(right)) for left, right in pairs)),
            lambda: equal_when_evaluated_together(self.decoder, self.prompts.ids, pairs, layer),
        )

    def diagnoses(
        self, pairs: Mapping[Layer, "Sequence[Pair]"]
    ) -> Mapping[tuple[Layer, "Pair"], "Diagnosis"]:
        """Whose doing colliding pairs are, the architecture's or the checkpoint's (SPEC section 3).

        Args:
            pairs: by layer, pairs of prompts.

        Returns:
            A diagnosis of each; of none where the model has no float64 copy, announced.
        """
        asked = {(layer, pair) for layer, some in pairs.items() for pair in some}
        new = {pair for _, pair in asked - self._diagnoses.keys()}
        # The same pairs at the other layers are asked for next, and cost no pass.
        layers, seed = _ordered({*pairs, *self.layers}), self.config.seed
        keys = {
            (layer, pair): DiagnosisKey(layer, pair, seed)
            for pair in sorted(new)
            for layer in layers
        }
        if self._entry.known(keys.values()) or self._has_float64("collisions are not diagnosed"):
            self._diagnoses |= self._entry.remember_each(keys, self._diagnose)
        return self._diagnoses

    def no_float64(self) -> str:
        """Why no float64 copy of the model can be had; empty where one can."""
        if rounds := self._rounds_activations():
            return (
                f"a float64 copy of {self.config.model} would be another function, as {rounds} as it"
                " runs"
            )
        needed = 8 * self.facts.parameters
        self.make_room(needed)
        free = _free_memory(self._kept.device)
        if needed < free:
            return ""
        return (
            f"a float64 copy of {self.config.model} needs {needed / 2**30:.1f} GiB and"
            f" {free / 2**30:.1f} are free"
        )

    def layer_summary(self, layer: int | str, bits: GridLike | None = None) -> LayerSummary:
        """The geometry of a layer as plain data, after activation quantization where bits are given."""
        one = self.one_layer(layer)
        grid = None if bits is None else Grid.parse(bits)
        geometry = self.geometry(one, bits=grid)
        # Only finite rows are rounded: the lost ones are those of the layer as it was computed.
        lost = int((~self.geometry(one).finite).sum())
        paired = len(geometry) >= 2  # noqa: PLR2004 - a pair is two
        noise = self.noise(one).value if grid is None else math.nan
        measured = MeasuredLayer(
            geometry if paired else None, lost, noise if math.isfinite(noise) else None
        )
        return LayerSummary(
            layer=layer_id(one),
            bits=None if grid is None else grid.key,
            n=len(geometry),
            numbers=measure(measured),
            trend=self.trend(one) if paired and grid is None else None,
            scale=grid.source(len(geometry)) if paired and grid is not None else None,
        )

    def trend(self, layer: int | str) -> Trend:
        """How margin and co-Lipschitz constant fell from N/4 to N/2 to N prompts (SPEC section 2)."""
        one = self.one_layer(layer)
        if one not in self._trends:
            from pytest_injectivity.audit.trend import measure_trend

            self._trends[one] = self.remember(
                TrendKey(one, self.config.prompt_metric),
                lambda: measure_trend(self.geometry(one), self.prompts.hashes),
            )
        return self._trends[one]

    @property
    def measured(self) -> tuple[tuple[Layer, int | str | None], ...]:
        """The layers whose geometry has been asked for, and on which grid (None: unrounded)."""
        return tuple(self._measured)

    def _search(self, entry: "Entry") -> "ContinuationSearch":
        from pytest_injectivity.inversion.continuation_search import ContinuationSearch
        from pytest_injectivity.inversion.continuations import continuation_tokens

        return ContinuationSearch(
            lambda: self.decoder,
            continuation_tokens(self.tokenizer, self.facts.vocab_size),
            lambda: _free_memory(self._kept.device),
            entry.remember_each,
        )

    @cached_property
    def _rows(self) -> "Rows":
        import torch

        dtype: torch.dtype = getattr(torch, self.facts.dtype)
        return self._entry.rows(len(self.prompts), self.facts.hidden_size, dtype)

    @cached_property
    def _held(self) -> "Held":
        from pytest_injectivity.states.memory import Held, default_budget

        return Held(self.config.memory_budget or default_budget(self._workers))

    def _plain_geometry(self, layer: Layer) -> "LayerGeometry":
        from pytest_injectivity.geometry.layer import LayerGeometry

        states, device = self.states(layer), self._kept.device
        # Distances are float64, which mps does not have.
        states = states.to(device) if device.type == "cuda" else states
        return LayerGeometry(
            layer,
            states,
            self.prompt_distances,
            remember=self.remember,
        )

    def _on_grid(self, layer: Layer, grid: Grid) -> "LayerGeometry":
        plain = self.geometry(layer)
        if grid.calibrated is None:
            return plain.quantized(grid)
        sample = set(self.prompts.subset(min(grid.calibrated, len(self.prompts))).hashes)
        known = [self.prompts.hashes[int(at)] in sample for at in plain.prompt_of]
        # The sample follows from the grid and the prompts, which the store knows already.
        return plain.quantized(grid, plain.rows[known])

    def _rounds_activations(self) -> str:
        """What rounds activations as the model runs; empty where nothing does."""
        if self.config.activation_bits is not None:
            return f"its activations are rounded to {self.config.activation_bits.words}"
        quantized = self.facts.quantized
        if quantized is not None and quantized.rounds_activations:
            return f"{quantized.kind} rounds activations"
        return ""

    def _capture(self, layers: Iterable[Layer]) -> None:
        from pytest_injectivity.states.capture import capture

        prompts, rows = self.prompts, self._rows
        # One process captures; those that waited for it find everything done.
        with self._entry.locked("capture"):
            done = {layer: rows.done(layer) for layer in _ordered(layers)}
            done = {layer: there for layer, there in done.items() if not there.all()}
            if not done:
                return
            needed = len(done) * len(prompts) * rows.row_bytes
            if not self._kept.store.make_room(needed):
                self.watcher.announce(
                    f"injectivity: states of {needed:,} bytes are kept beyond --injx-cache-size="
                    f"{self.config.cache_size:,} until another audit needs the room"
                )
            with (
                self.watcher.progress("hidden states", len(prompts)) as advance,
                rows.sink() as sink,
            ):
                capture(
                    self.decoder,
                    prompts.ids,
                    tuple(done),
                    batch_tokens=self.config.batch_tokens,
                    progress=lambda done, _total: advance(done),
                    announce=self.watcher.announce,
                    sink=sink,
                    done=done,
                )

    def _measure_noise(
        self, sample: int, layers: "Sequence[Layer]", *, exact: bool
    ) -> "Mapping[Layer, NoiseFloor]":
        from pytest_injectivity.states.resolution import measure_noise

        prompts = self.prompts.subset(sample)
        copy = self.decoder.as_float64() if exact else None
        found = measure_noise(self.decoder, copy, prompts.ids, layers)
        del copy
        gc.collect()
        return found

    def _diagnose(
        self, missing: "Sequence[tuple[Layer, Pair]]"
    ) -> "Mapping[tuple[Layer, Pair], Diagnosis]":
        from pytest_injectivity.states.diagnosis import DRAWS, diagnose

        with self.watcher.progress("fresh draws of the weights", 1 + DRAWS) as advance:
            found = diagnose(
                self.decoder,
                self.prompts.ids,
                sorted({pair for _, pair in missing}),
                _ordered({layer for layer, _ in missing}),
                seed=self.config.seed,
                progress=advance,
            )
        gc.collect()
        return found

    def _has_float64(self, otherwise: str) -> bool:
        """Whether there is a float64 copy of the model; announced where there is none."""
        if not (reason := self.no_float64()):
            return True
        self.watcher.announce(f"injectivity: {reason}: {otherwise}")
        return False


def _ordered(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    return tuple(sorted(layers, key=depth))


def _free_memory(device: "torch.device") -> int:
    """Free bytes where the model is."""
    from pytest_injectivity.states.memory import free_memory

    return free_memory(device)
