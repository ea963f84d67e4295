"""The last-token states of each layer, captured once, and the geometry of each layer.

Every layer that is expected (those of the config, and those that the running check asks for) is captured
in the same pass of the prompts.
"""

from collections.abc import Callable, Iterable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from pytest_injectivity.audit.measurements.captured_by_workers import captured_by_workers
from pytest_injectivity.audit.measurements.searched_by_workers import searchers
from pytest_injectivity.audit.target.target import Target, by_depth
from pytest_injectivity.core.layers import Layer, layer_id
from pytest_injectivity.core.number_keys import NumberKey, PartKey
from pytest_injectivity.core.progress import UNCOUNTED
from pytest_injectivity.geometry.keys import NeighborsKey, RatiosKey
from pytest_injectivity.quantization.grid import Grid, GridLike

if TYPE_CHECKING:
    from torch import Tensor

    from pytest_injectivity.geometry.layer import LayerGeometry
    from pytest_injectivity.prompts.metrics import PairDistances
    from pytest_injectivity.states.memory import Held
    from pytest_injectivity.store.rows import Rows

# Bytes that a geometry holds for each row beside the row itself: norms, neighbors, ratios, classes.
_ROW_NUMBERS = 64


class LayerStates:
    """The states of a model on a prompt set, layer by layer.

    Args:
        target: the model and the prompt set.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self._measured: dict[tuple[Layer, int | str | None], None] = {}

    @cached_property
    def prompt_distances(self) -> "PairDistances":
        """The prompt metric over the prompt set."""
        from pytest_injectivity.prompts.metrics import PromptMetric

        target = self.target
        target.use("prompt_metric")
        return target.prompts.distances(PromptMetric.parse(target.config.prompt_metric))

    @property
    def measured(self) -> tuple[tuple[Layer, int | str | None], ...]:
        """The layers whose geometry has been asked for, and on which grid (None: unrounded)."""
        return tuple(self._measured)

    @cached_property
    def rows(self) -> "Rows":
        """The rows of captured states in the store."""
        import torch

        target = self.target
        dtype: torch.dtype = getattr(torch, target.facts.dtype)
        return target.entry.rows(len(target.prompts), target.facts.hidden_size, dtype)

    def states(self, layer: Layer) -> "Tensor":
        """The last-token states ``H_l``: ``(prompts, hidden)``, on the CPU, in the model's dtype.

        Read into memory where they fit ``memory_budget``, else memory-mapped.
        """
        held: Tensor | None = self._held.get(layer, "states")
        if held is not None:
            return held
        rows = self.rows.mapped(layer)
        while rows is None:
            self._capture(self.target.together(layer))
            rows = self.rows.mapped(layer)
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
        one = self.target.one_layer(layer)
        grid = None if bits is None else Grid.parse(bits)
        held: LayerGeometry | None = self._held.get(one, ("geometry", grid))
        if held is None:
            held = self._plain_geometry(one) if grid is None else self._on_grid(one, grid)
            # A geometry that shares its rows with the states adds only its numbers to the memory held.
            rows = 0 if grid is None and held.finite.all() else held.rows.nbytes
            self._held.put(one, ("geometry", grid), held, rows + _ROW_NUMBERS * len(held))
        self._measured[one, None if grid is None else grid.key] = None
        return held

    @cached_property
    def _held(self) -> "Held":
        from pytest_injectivity.states.memory import Held, default_budget

        return Held(self.target.config.memory_budget or default_budget(self.target.workers))

    def _plain_geometry(self, layer: Layer) -> "LayerGeometry":
        from pytest_injectivity.geometry.layer import LayerGeometry

        states, device = self.states(layer), self.target.kept.device
        # Distances are float64, which mps does not have.
        states = states.to(device) if device.type == "cuda" else states
        return LayerGeometry(
            layer,
            states,
            self.prompt_distances,
            remember=partial(self._remember, layer),
            executor=searchers(self.target),
        )

    def _remember(self, layer: Layer, key: NumberKey, compute: Callable[[], Any]) -> Any:
        """A number of a layer's geometry, which is foretold and shown while it is computed."""

        def computed() -> Any:
            together = by_depth(self.target.together(layer))
            if isinstance(key, NeighborsKey):
                self.target.foretelling.before(lambda costs: costs.neighbors(together))
            elif isinstance(key, RatiosKey):
                self.target.foretelling.before(lambda costs: costs.ratios(together))
            with self.target.watcher.progress(f"geometry of {layer_id(layer)}", UNCOUNTED):
                return compute()

        # A part of a search is computed while the search is.
        return self.target.remember(key, compute if isinstance(key, PartKey) else computed)

    def _on_grid(self, layer: Layer, grid: Grid) -> "LayerGeometry":
        plain = self.geometry(layer)
        if grid.calibrated is None:
            return plain.quantized(grid)
        sample = set(
            self.target.prompts.subset(min(grid.calibrated, len(self.target.prompts))).hashes
        )
        known = [self.target.prompts.hashes[int(at)] in sample for at in plain.prompt_of]
        # The sample follows from the grid and the prompts, which the store knows already.
        return plain.quantized(grid, plain.rows[known])

    def _capture(self, layers: Iterable[Layer]) -> None:
        from pytest_injectivity.states.capture import capture

        prompts, rows = self.target.prompts, self.rows
        # One process captures; processes that waited for the lock find everything done.
        with self.target.entry.locked("capture"):
            done = {layer: rows.done(layer) for layer in by_depth(layers)}
            done = {layer: there for layer, there in done.items() if not there.all()}
            if not done:
                return
            needed = len(done) * len(prompts) * rows.row_bytes
            if not self.target.kept.store.make_room(needed):
                self.target.watcher.announce(
                    f"injectivity: states of {needed:,} bytes are kept beyond --injx-cache-size="
                    f"{self.target.config.cache_size:,} until another audit needs the room"
                )
            self.target.foretelling.before(lambda costs: costs.capture(tuple(done)))
            with (
                self.target.watcher.progress("hidden states", len(prompts)) as advance,
                rows.sink() as sink,
            ):

                def progress(done: int, _total: int) -> None:
                    advance(done)

                if captured_by_workers(
                    self.target, done, sink, row_bytes=rows.row_bytes, progress=progress
                ):
                    return
                capture(
                    self.target.decoder,
                    prompts.ids,
                    tuple(done),
                    batch_tokens=self.target.config.batch_tokens,
                    progress=progress,
                    announce=self.target.watcher.announce,
                    sink=sink,
                    done=done,
                    budget=self.target.config.memory_budget,
                )
