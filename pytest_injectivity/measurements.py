"""Everything an audit measures, each thing once and only when a check or a report asks for it."""

import gc
import hmac
import math
import os
from collections.abc import Iterable
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, cast

from pytest_injectivity.errors import OptionError
from pytest_injectivity.layers import Layer, LayerSpec, depth, layer_id, resolve_layers
from pytest_injectivity.options import AuditConfig
from pytest_injectivity.summary import LayerSummary, RunSummary
from pytest_injectivity.text import one_line
from pytest_injectivity.threads import settle_threads
from pytest_injectivity.watcher import Silent, Watcher

if TYPE_CHECKING:
    from torch import Tensor

    from pytest_injectivity.geometry.layer import LayerGeometry
    from pytest_injectivity.geometry.ratios import Ratios
    from pytest_injectivity.models.assumptions import Assumptions
    from pytest_injectivity.models.decoder import Decoder
    from pytest_injectivity.prompts.metrics import PairDistances
    from pytest_injectivity.prompts.promptset import PromptSet
    from pytest_injectivity.prompts.settings import SpecialTokens
    from pytest_injectivity.states.noise import NoiseFloor

_NOISE_SAMPLE = 16
_VERSIONED = ("pytest-injectivity", "torch", "transformers", "numpy")


class Measurements:
    """A model and a prompt set, and what is measured of them.

    Args:
        config: what to audit and how.
        watcher: told what happens; nobody by default.
        workers: processes that compute side by side on this machine.
        key: keys the hashes that name prompts; the config's, or a new random one, by default.

    Attributes:
        config, watcher: as given.
        where: the test that is running, as pytest names it; empty in a script.
    """

    def __init__(
        self,
        config: AuditConfig | None = None,
        *,
        watcher: Watcher | None = None,
        workers: int = 1,
        key: bytes | None = None,
    ) -> None:
        self.config = config or AuditConfig()
        self.watcher: Watcher = watcher or Silent()
        self._workers = workers
        self._key = key or self.config.key()
        self.where = ""
        self._states: dict[Layer, Tensor] = {}
        self._noise: dict[Layer, NoiseFloor] = {}
        self._geometry: dict[tuple[Layer, int | None], LayerGeometry] = {}
        self._edits: dict[Layer, Ratios] = {}

    @cached_property
    def decoder(self) -> "Decoder":
        """The model.

        Raises:
            ModelError: it cannot be audited.
        """
        self._settle_threads()
        from pytest_injectivity.models.loading import load_decoder

        return load_decoder(self.config.model, dtype=self.config.dtype, device=self.config.device)

    @cached_property
    def prompts(self) -> "PromptSet":
        """The prompt set, tokenised for the model.

        Raises:
            PromptError: it cannot be audited.
        """
        decoder = self.decoder
        from pytest_injectivity.prompts.loading import load_prompts

        return load_prompts(
            self.config.prompts,
            decoder.tokenizer,
            field=self.config.prompt_field,
            length=self.config.length,
            overlong="drop" if self.config.drops_overlong else "refuse",
            special_tokens=cast("SpecialTokens", self.config.special_tokens),
            max_prompts=self.config.sample,
            seed=self.config.seed,
            context=decoder.context,
            vocab_size=decoder.vocab_size,
        )

    @cached_property
    def n_layers(self) -> int:
        """The model's number of blocks, from its configuration: no weights are loaded for it.

        Raises:
            ModelError: there is no configuration, or it is not that of a causal decoder.
        """
        self._settle_threads()
        from pytest_injectivity.models.loading import model_config

        return int(model_config(self.config.model).get_text_config().num_hidden_layers)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers the config names, shallow first."""
        return resolve_layers(self.config.layers, self.n_layers)

    @cached_property
    def assumptions(self) -> "Assumptions":
        """What SPEC section 3 assumes of the architecture, looked up in this model."""
        from pytest_injectivity.models.assumptions import assumptions

        return assumptions(self.decoder)

    @cached_property
    def has_minimal_edit(self) -> bool:
        """Whether two prompts of the set, admissible for its metric, are one edit apart."""
        from pytest_injectivity.prompts.edits import has_minimal_edit

        same_length = self.prompt_distances.metric.equal_lengths_only
        return has_minimal_edit(self.prompts.ids, same_length=same_length)

    @cached_property
    def prompt_distances(self) -> "PairDistances":
        """The prompt metric over the prompt set."""
        from pytest_injectivity.prompts.metrics import PairDistances, PromptMetric

        return PairDistances(PromptMetric.parse(self.config.prompt_metric), self.prompts.ids)

    def states(self, layer: Layer) -> "Tensor":
        """The last-token states ``H_l``: ``(prompts, hidden)``, on the CPU, in the model's dtype."""
        if layer not in self._states:
            # The first request captures every layer of the config in the same pass.
            self._capture({layer, *self.layers} - self._states.keys())
        return self._states[layer]

    def geometry(self, layer: int | str, *, bits: int | None = None) -> "LayerGeometry":
        """The geometry of a layer, after post-hoc activation quantisation where bits are given.

        Raises:
            LayerError: the model has no such layer, or the text names several.
            OptionError: the bits are not accepted.
        """
        one = self.one_layer(layer)
        if bits is not None:
            if (one, bits) not in self._geometry:
                self._geometry[one, bits] = self.geometry(one).quantised(bits)
            return self._geometry[one, bits]
        if (one, None) not in self._geometry:
            from pytest_injectivity.geometry.layer import LayerGeometry

            states = self.states(one)
            device = self.decoder.device
            # Distances are float64, which mps does not have.
            states = states.to(device) if device.type == "cuda" else states
            self._geometry[one, None] = LayerGeometry(one, states, self.prompt_distances)
        return self._geometry[one, None]

    def noise(self, layer: Layer) -> "NoiseFloor":
        """The noise floor of a layer over a sample of the prompts."""
        if layer not in self._noise:
            self._measure_noise({layer, *self.layers} - self._noise.keys())
        return self._noise[layer]

    def minimal_edits(self, layer: Layer) -> "Ratios":
        """For each prompt of a sample, how far one changed token moves the state, per edit."""
        if layer not in self._edits:
            from pytest_injectivity.minimal_edits import edit_ratios

            wanted = _ordered({layer, *self.layers} - self._edits.keys())
            metric = self.prompt_distances.metric
            self._edits |= edit_ratios(self.decoder, self.prompts, metric, wanted, self.config.seed)
        return self._edits[layer]

    def one_layer(self, layer: int | str) -> Layer:
        """The single layer a spec names."""
        named = resolve_layers(layer, self.n_layers)
        if len(named) != 1:
            raise OptionError(f"layer {layer!r} names {len(named)} layers: give one")
        return named[0]

    def resolve(self, layer: LayerSpec) -> tuple[Layer, ...]:
        """The layers a spec names in this model."""
        return resolve_layers(layer, self.n_layers)

    def name_of(self, prompt: int) -> str:
        """How reports name a prompt: index, keyed hash, length; its text only when asked for."""
        ids = self.prompts.ids[prompt]
        digest = hmac.digest(self._key, self.prompts.hashes[prompt].encode(), "sha256").hex()[:10]
        name = f"prompt {prompt} ({digest}, {len(ids)} tokens)"
        if not self.config.show_prompts:
            return name
        shown = str(list(ids)) if self.prompts.texts is None else self.prompts.texts[prompt]
        return f"{name} {one_line(shown)}"

    def run_summary(self) -> RunSummary:
        """What was audited, as plain data."""
        decoder, prompts = self.decoder, self.prompts
        return RunSummary(
            model=one_line(self.config.model),
            revision=decoder.revision,
            family=decoder.family.name,
            n_layers=decoder.n_layers,
            hidden=decoder.hidden_size,
            vocab=decoder.vocab_size,
            dtype=str(decoder.dtype).removeprefix("torch."),
            device=str(decoder.device),
            assumptions=self.assumptions.line,
            prompts=one_line(prompts.name),
            n=len(prompts),
            prompt_hash=prompts.hash,
            shortest=int(prompts.lengths.min()),
            longest=prompts.longest,
            special_tokens=prompts.special_tokens,
            dropped={
                "duplicates": prompts.dropped_duplicates,
                "overlong": prompts.dropped_overlong,
                "empty": prompts.dropped_empty,
            },
            prompt_metric=self.config.prompt_metric,
            seed=self.config.seed,
            versions={name: version(name) for name in _VERSIONED},
        )

    def layer_summary(self, layer: int | str, bits: int | None = None) -> LayerSummary:
        """The geometry of a layer as plain data, after activation quantisation where bits are given."""
        from pytest_injectivity.geometry.layer import partnered_ratios

        one = self.one_layer(layer)
        geometry = self.geometry(one, bits=bits)
        # Only finite rows are rounded: the lost ones are those of the layer as it was computed.
        rows, lost = len(geometry), int((~self.geometry(one).finite).sum())
        noise = self.noise(one).value if bits is None else math.nan
        if rows < 2:  # noqa: PLR2004 - no pair, no geometry
            return LayerSummary(layer_id(one), bits, rows, lost)
        ratios = geometry.colipschitz_rows
        comparable = ratios.partnered.sum() > 1
        return LayerSummary(
            layer=layer_id(one),
            bits=bits,
            n=rows,
            not_finite=lost,
            collisions=geometry.equal.pairs,
            mean_norm=geometry.mean_norm,
            median_norm=geometry.median_norm,
            margin=geometry.margin(q=0.0),
            margin_q=geometry.margin(),
            colipschitz=float(partnered_ratios(ratios).min()) if comparable else None,
            colipschitz_q=geometry.colipschitz() if comparable else None,
            noise=noise if math.isfinite(noise) else None,
            near_fractions={f"{eps:g}": part for eps, part in geometry.near_fractions().items()},
        )

    def reproduce(self) -> str:
        """The command that repeats this audit; a test run adds the test's name."""
        return " ".join(filter(None, ("pytest", self.where, self.config.command_line())))

    @property
    def measured(self) -> tuple[tuple[Layer, int | None], ...]:
        """The layers whose geometry has been asked for, and at how many bits (None: unrounded)."""
        return tuple(self._geometry)

    def _settle_threads(self) -> None:
        if said := settle_threads(self._workers):
            self.watcher.announce(said)

    def _capture(self, layers: Iterable[Layer]) -> None:
        from pytest_injectivity.states.capture import capture

        prompts, decoder = self.prompts, self.decoder
        with self.watcher.progress("hidden states", len(prompts)) as advance:
            captured = capture(
                decoder,
                prompts.ids,
                _ordered(layers),
                batch_tokens=self.config.batch_tokens,
                progress=lambda done, _total: advance(done),
                announce=self.watcher.announce,
            )
        self._states |= captured.rows

    def _measure_noise(self, layers: Iterable[Layer]) -> None:
        from pytest_injectivity.states.noise import measure_noise

        sample = self.prompts.subset(min(_NOISE_SAMPLE, len(self.prompts)))
        decoder = self.decoder
        exact = decoder.as_float64() if self._float64_fits() else None
        self._noise |= measure_noise(decoder, exact, sample.ids, _ordered(layers))
        del exact
        gc.collect()

    def _float64_fits(self) -> bool:
        """Whether a float64 copy of the weights fits beside the model; announced where it does not."""
        decoder = self.decoder
        needed = 8 * sum(parameter.numel() for parameter in decoder.model.parameters())
        free = _free_memory(decoder)
        if free is None or needed < free:
            return True
        self.watcher.announce(
            f"injectivity: a float64 copy of {self.config.model} needs {needed / 2**30:.1f} GiB and"
            f" {free / 2**30:.1f} are free: the noise floor leaves the distance to float64 out"
        )
        return False


def _ordered(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    return tuple(sorted(layers, key=depth))


def _free_memory(decoder: "Decoder") -> int | None:
    """Free bytes where the model is; None where the system does not say."""
    import torch

    if decoder.device.type == "cuda":
        return int(torch.cuda.mem_get_info(decoder.device)[0])
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
