"""What is audited: a model and a prompt set, what is known of them, and where it is kept."""

import gc
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, cast

from pytest_injectivity.audit.keys import (
    ActivationScalesKey,
    AssumptionsKey,
    ModelFactsKey,
    StdlibPromptsKey,
)
from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.core.layers import Layer, LayerSpec, resolve_layers
from pytest_injectivity.core.number_keys import NumberKey
from pytest_injectivity.core.progress import Silent, Watcher
from pytest_injectivity.core.text import one_line
from pytest_injectivity.core.threads import settle_threads
from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.quiet import hush
from pytest_injectivity.prompts.naming import prompt_name, token_name
from pytest_injectivity.quantization.grid import Rounded
from pytest_injectivity.results.summary import RunSummary

if TYPE_CHECKING:
    from pytest_injectivity.audit.target_store import Kept
    from pytest_injectivity.models.assumptions import Assumptions
    from pytest_injectivity.models.checkpoint import Checkpoint
    from pytest_injectivity.models.decoder import Decoder
    from pytest_injectivity.models.facts import ModelFacts
    from pytest_injectivity.prompts.promptset import PromptSet
    from pytest_injectivity.prompts.settings import SpecialTokens
    from pytest_injectivity.quantization.activation_hooks import Rounding
    from pytest_injectivity.store.entry import Entry
    from pytest_injectivity.store.journal import Journal

T = TypeVar("T")

_VERSIONED = ("pytest-injectivity", "torch", "transformers", "numpy")


class Process(TypedDict, total=False):
    """How a process takes part in an audit.

    Attributes:
        watcher: told what happens; nobody by default.
        workers: processes that compute side by side on this machine; 1 by default.
        key: keys the hashes that name prompts; the config's, or a new random one, by default.
        run: a name that processes of one run share; a new random one by default.
        scratch: with ``no_cache``, the folder that processes of one run share; by default a new
            one that is removed with the audit.
    """

    watcher: Watcher | None
    workers: int
    key: bytes | None
    run: str | None
    scratch: Path | None


class Subject:
    """A model and a prompt set.

    Args:
        config: what to audit and how.
        process: see `Process`.

    Attributes:
        config, watcher: as given.
        where: the test that is running, as pytest names it; empty in a script.
        beside: the other audit of a comparison, whose model shares the memory with this one's.
    """

    def __init__(self, config: AuditConfig | None = None, **process: Unpack[Process]) -> None:
        self.config = config or AuditConfig()
        self.watcher: Watcher = process.get("watcher") or Silent()
        self._workers = process.get("workers", 1)
        self._key = process.get("key") or self.config.key()
        self._run = process.get("run")
        self._scratch = process.get("scratch")
        self.where = ""
        self.beside: Subject | None = None

    @property
    def process(self) -> Process:
        """How this audit takes part, for another one in the same process."""
        return Process(
            watcher=self.watcher,
            workers=self._workers,
            key=self._key,
            run=self._run,
            scratch=self._scratch,
        )

    @cached_property
    def decoder(self) -> "Decoder":
        """The model, its activations rounded as it runs where the config says so.

        Raises:
            ModelError: it cannot be audited.
            OptionError: its activations have no scale.
        """
        if self.config.activation_bits is None:
            return self._load()
        return self.unrounded.rounded(self._rounding)

    @property
    def unrounded(self) -> "Decoder":
        """The model as it was loaded, its activations as they are.

        Raises:
            ModelError: it cannot be audited.
        """
        return self.decoder if self.config.activation_bits is None else self._unrounded

    @cached_property
    def _unrounded(self) -> "Decoder":
        return self._load()

    def _load(self) -> "Decoder":
        self._settle_threads()
        from pytest_injectivity.models.loading import load

        config, other = self.config, self.beside
        if other is not None and other.loaded:
            # The two have one shape, and weights are held in float32 at the most.
            self.make_room((8 if config.dtype == "float64" else 4) * other.facts.parameters)
        return load(
            self.checkpoint,
            dtype=config.dtype,
            device=config.device,
            quantization=config.quantization,
        )

    @cached_property
    def checkpoint(self) -> "Checkpoint":
        """The model's checkpoint, its configuration read; no weights are loaded for it.

        Raises:
            ModelError: there is none, or it is not that of a causal decoder.
        """
        self._settle_threads()
        from pytest_injectivity.models.checkpoint import resolve

        return resolve(self.config.model)

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return bool({"decoder", "_unrounded"} & self.__dict__.keys())

    def adopt(self, decoder: "Decoder") -> None:
        """Use a model that another audit of it has loaded and handed over."""
        name = "decoder" if self.config.activation_bits is None else "_unrounded"
        self.__dict__[name] = decoder

    def hand_over(self) -> "Decoder | None":
        """The model as it was loaded, if it is; what asks for it next here loads it again."""
        decoder = self.__dict__.pop("decoder", None)
        unrounded: Decoder | None = self.__dict__.pop("_unrounded", decoder)
        return unrounded

    def release(self) -> None:
        """Let the model go; what asks for it next loads it again."""
        if self.hand_over() is not None:
            import torch

            gc.collect()
            if self._kept.device.type == "cuda":
                torch.cuda.empty_cache()

    def make_room(self, needed: int) -> None:
        """Let the model of the audit beside this one go, where so many bytes are not surely free."""
        if self.beside is None or not self.beside.loaded:
            return
        from pytest_injectivity.states.memory import free_memory

        if free_memory(self._kept.device) <= needed:
            self.beside.release()

    def stand_beside(self, other: "Subject") -> None:
        """Be compared with another audit: one store, one journal, and prompts that are tokenised once.

        Both models are in memory together only where they fit.
        """
        self._journal = other._journal  # noqa: SLF001 - of its own class, as below
        if self.config.no_cache:
            self._scratch = other._kept.store.folder  # noqa: SLF001
        self.beside, other.beside = other, self

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer, for which no weights are loaded; None where it has none.

        Raises:
            ModelError: it cannot be loaded.
        """
        if self.loaded:
            return self.unrounded.tokenizer
        self._settle_threads()
        from pytest_injectivity.models.loading import load_tokenizer

        return load_tokenizer(self.checkpoint)

    @cached_property
    def facts(self) -> "ModelFacts":
        """What is known of the model; its weights are loaded only where it is new to the store.

        Raises:
            ModelError: it cannot be audited.
        """
        from pytest_injectivity.models.facts import ModelFacts

        facts = self._kept.model.remember(ModelFactsKey(), lambda: ModelFacts.of(self.unrounded))
        if self.config.activation_bits is not None:
            facts = replace(facts, activations=str(self.config.activation_bits))
        if facts.quantized is not None and facts.quantized.caution:
            self.watcher.announce(f"injectivity: {facts.quantized.caution}")
        return facts

    @cached_property
    def prompts(self) -> "PromptSet":
        """The prompt set, tokenised for the model.

        Raises:
            PromptError: it cannot be audited.
        """
        if self.config.prompts != "builtin:stdlib":
            return self._read_prompts()
        from pytest_injectivity.prompts.stdlib import stdlib_state

        # Everybody has these texts, and parsing and tokenising them takes most of a warm run.
        config = self.config
        key = StdlibPromptsKey(
            files=stdlib_state(),
            field=config.prompt_field,
            length=config.length,
            overlong=config.overlong,
            special_tokens=config.special_tokens,
            sample=config.sample,
            seed=config.seed,
        )
        return self._kept.model.remember(key, self._read_prompts)

    def _read_prompts(self) -> "PromptSet":
        facts = self.facts
        from pytest_injectivity.prompts.loading import load_prompts

        return load_prompts(
            self.config.prompts,
            self.tokenizer,
            field=self.config.prompt_field,
            length=self.config.length,
            overlong="drop" if self.config.drops_overlong else "refuse",
            special_tokens=cast("SpecialTokens", self.config.special_tokens),
            max_prompts=self.config.sample,
            seed=self.config.seed,
            context=facts.context,
            vocab_size=facts.vocab_size,
        )

    @cached_property
    def n_layers(self) -> int:
        """The model's number of blocks, from its configuration: no weights are loaded for it.

        Raises:
            ModelError: there is no configuration, or it is not that of a causal decoder.
        """
        return self.checkpoint.n_layers

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers the config names, shallow first."""
        return resolve_layers(self.config.layers, self.n_layers)

    @cached_property
    def assumptions(self) -> "Assumptions":
        """What SPEC section 3 assumes of the architecture, looked up in this model."""
        from pytest_injectivity.models.assumptions import assumptions

        found = self._kept.model.remember(AssumptionsKey(), lambda: assumptions(self.unrounded))
        if (grid := self.config.activation_bits) is None:
            return found
        return replace(found, plain=False, activations=grid.words)

    @cached_property
    def rounded(self) -> Rounded | None:
        """How activations are rounded as the model runs, and which prompts gave the scales."""
        grid = self.config.activation_bits
        if grid is None or grid.per == "token":
            return None if grid is None else Rounded(str(grid))
        from pytest_injectivity.models.calibration import calibration_prompts

        sample = calibration_prompts(grid, self.prompts)
        return Rounded(str(grid), len(sample), sample.hash)

    @property
    def _rounding(self) -> "Rounding":
        from pytest_injectivity.models.calibration import calibrate, calibration_prompts
        from pytest_injectivity.quantization.activation_hooks import Rounding

        grid = self.config.activation_bits
        assert grid is not None  # noqa: S101 - it is why this was asked for
        if grid.per == "token":
            return Rounding(grid)
        sample = calibration_prompts(grid, self.prompts)
        return self._kept.model.remember(
            ActivationScalesKey(str(grid), sample.hash),
            lambda: calibrate(self.unrounded, sample.ids, grid),
        )

    def remember(self, key: NumberKey, compute: "Callable[[], T]") -> T:
        """Returns a number of this model and prompt set: read from the store, or computed and kept.

        Args:
            key: names the number and holds every setting it depends on beside model and prompts.
            compute: computes it: frozen dataclasses of arrays and plain data. It runs in one process at
                a time, and in none where another run's number is there.
        """
        return self._entry.remember(key, compute)

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
        return prompt_name(self.prompts, prompt, self._key, shown=self.config.show_prompts)

    def name_of_token(self, token: int) -> str:
        """How reports name a token: by a keyed hash; its id and text only when asked for."""
        if not self.config.show_prompts:
            return token_name(token, self._key)
        return token_name(token, self._key, shown=True, tokenizer=self.tokenizer)

    def run_summary(self) -> RunSummary:
        """What was audited, as plain data."""
        facts, prompts = self.facts, self.prompts
        return RunSummary(
            model=one_line(self.config.model),
            revision=self.checkpoint.revision,
            family=facts.family,
            n_layers=facts.n_layers,
            hidden=facts.hidden_size,
            vocab=facts.vocab_size,
            dtype=facts.dtype,
            device=str(self._kept.device),
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
            versions={name: version(name) for name in _VERSIONED} | self._quantizing,
            quantized=facts.quantized,
            activations=self.rounded,
            numbers=self._journal.origin,
        )

    @property
    def _quantizing(self) -> dict[str, str]:
        """The versions of what loads and runs quantized weights, where there are any."""
        from pytest_injectivity.quantization.formats.registry import installed

        return {} if self.facts.quantized is None else installed()

    def reproduce(self) -> str:
        """The command that repeats this audit; a test run adds the test's name."""
        return " ".join(filter(None, ("pytest", self.where, self.config.command_line())))

    def _settle_threads(self) -> None:
        hush()
        if said := settle_threads(self._workers):
            self.watcher.announce(said)

    @property
    def identity(self) -> str:
        """A name for the model as it is loaded and the prompts: equal where all numbers are."""
        return self._entry.folder.name

    def is_same_model(self, other: "Subject") -> bool:
        """Whether the other model is this one, loaded the same way."""
        alike = self._kept.loaded == other._kept.loaded  # noqa: SLF001 - of its own class
        return alike and (self.facts.dtype, self.rounded) == (other.facts.dtype, other.rounded)

    @cached_property
    def _journal(self) -> "Journal":
        from pytest_injectivity.store.journal import Journal

        return Journal(self._run) if self._run else Journal()

    @cached_property
    def _kept(self) -> "Kept":
        self._settle_threads()
        from pytest_injectivity.audit.target_store import Kept

        return Kept(self.config, self.checkpoint, self.watcher, self._journal, self._scratch)

    @cached_property
    def _entry(self) -> "Entry":
        return self._kept.of_prompts(self.prompts, self.rounded)
