"""A model on a prompt set: loading and unloading, facts on both, and the store of their numbers."""

import gc
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from pytest_injectivity.audit.keys import (
    AssumptionsKey,
    ModelFactsKey,
)
from pytest_injectivity.audit.target.activations import rounded_of, rounding_of
from pytest_injectivity.audit.target.loaded_model import LoadedModel
from pytest_injectivity.audit.target.loaded_prompts import load_prompts
from pytest_injectivity.audit.target.process import Process
from pytest_injectivity.audit.target.told_loading import load_told
from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.core.layers import Layer, LayerSpec, depth, resolve_layers
from pytest_injectivity.core.number_keys import NumberKey
from pytest_injectivity.core.progress import Silent, Watcher
from pytest_injectivity.core.refusals import refusing_again
from pytest_injectivity.core.threads import settle_threads
from pytest_injectivity.errors import OptionError
from pytest_injectivity.models.quiet import hush, import_quietly
from pytest_injectivity.prompts.naming import prompt_name, token_name
from pytest_injectivity.quantization.grid import Rounded

if TYPE_CHECKING:
    from pytest_injectivity.audit.target.foretelling import Foretelling
    from pytest_injectivity.audit.target.target_store import Kept
    from pytest_injectivity.models.assumptions import Assumptions
    from pytest_injectivity.models.checkpoint import Checkpoint
    from pytest_injectivity.models.decoder import Decoder
    from pytest_injectivity.models.facts import ModelFacts
    from pytest_injectivity.prompts.promptset import PromptSet
    from pytest_injectivity.store.entry import Entry
    from pytest_injectivity.store.journal import Journal

T = TypeVar("T")

_WORTH_COLLECTING = 2**26
"""Bytes of weights that the garbage collector is run for, which takes up to half a second."""


class Target:
    """A model on a prompt set, with facts on both and the store of their numbers.

    Args:
        config: what to audit and how.
        process: see `Process`.

    Attributes:
        config, watcher, described: as given.
        where: the test that is running, as pytest names it; empty in a script.
        beside: the other target of a comparison, whose model shares the memory with this one's.
        name: of the model, where the run has several.
        workers, executor: see `Process`.
    """

    def __init__(self, config: AuditConfig | None = None, **process: Unpack[Process]) -> None:
        self.config: AuditConfig = config or AuditConfig()
        self.watcher: Watcher = process.get("watcher") or Silent()
        self.workers = process.get("workers", 1)
        self.executor = process.get("executor")
        self._key = process.get("key") or self.config.key()
        self._run = process.get("run")
        self._scratch = process.get("scratch")
        self._command = process.get("command")
        self.name = process.get("name", "")
        self._used = process.get("used", set())
        self.described = process.get("described", False)
        self.where = ""
        self.beside: Target | None = None
        rounds = self.config.activation_bits is not None
        self._model = LoadedModel(
            refusing_again(self._load), (lambda: rounding_of(self)) if rounds else None
        )
        self._prompts: PromptSet | None = None
        self._made_prompts = refusing_again(lambda: load_prompts(self))
        self._resolved = refusing_again(self._resolve)
        self._journal: Journal | None = None
        self._expected: set[Layer] = set()

    @cached_property
    def foretelling(self) -> "Foretelling":
        """Tells the watcher of long phases before they begin."""
        from pytest_injectivity.audit.target.foretelling import Foretelling

        return Foretelling(self)

    @property
    def process(self) -> Process:
        """The process settings of this audit, for another audit in the same process."""
        return Process(
            watcher=self.watcher,
            workers=self.workers,
            executor=self.executor,
            key=self._key,
            run=self._run,
            scratch=self._scratch,
            name=self.name,
            command=self._command,
            used=self._used,
            described=self.described,
        )

    def use(self, option: str) -> None:
        """Remember that the value of an option was used; see `Process`."""
        self._used.add(option)

    @property
    def decoder(self) -> "Decoder":
        """The model, which rounds its activations as it runs where the config says so.

        Raises:
            ModelError: it cannot be audited.
            OptionError: its activations have no scale.
        """
        return self._model.decoder

    @property
    def unrounded(self) -> "Decoder":
        """The model as it was loaded, its activations as they are.

        Raises:
            ModelError: it cannot be audited.
        """
        return self._model.unrounded

    def _load(self) -> "Decoder":
        self._prepare_process()
        config, other = self.config, self.beside
        if other is not None and other.loaded:
            # Both models have one shape, and weights take at most 4 bytes, in float64 8.
            self.make_room((8 if config.dtype == "float64" else 4) * other.facts.parameters)
        return load_told(
            self.checkpoint,
            self.watcher,
            dtype=config.dtype,
            device=config.device,
            quantization=config.quantization,
            mode=config.load,
        )

    @cached_property
    def checkpoint(self) -> "Checkpoint":
        """The model's checkpoint, its configuration read; no weights are loaded for it.

        Raises:
            ModelError: there is none, or it is not that of a causal decoder.
        """
        return self._resolved()

    def _resolve(self) -> "Checkpoint":
        self._prepare_process()
        from pytest_injectivity.models.checkpoint import resolve

        return resolve(self.config.model)

    @property
    def loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._model.loaded

    @property
    def streams(self) -> bool:
        """Whether the blocks' weights are known to stay on disk."""
        if self.config.load != "auto":
            return self.config.load == "stream"
        return self.loaded and self.unrounded.streamed is not None

    def adopt(self, decoder: "Decoder") -> None:
        """Use a model that another target of the same checkpoint has loaded and handed over."""
        self._model.adopt(decoder)

    def hand_over(self) -> "Decoder | None":
        """Give the model away, without its rounding; None where none is loaded."""
        return self._model.hand_over()

    def unload(self) -> None:
        """Release the model's memory; the next use loads it again."""
        if (decoder := self.hand_over()) is None:
            return
        import torch

        large = sum(one.nbytes for one in decoder.model.parameters()) >= _WORTH_COLLECTING
        del decoder
        # A model is part of circles, which the collector finds by itself sooner or later.
        if large:
            gc.collect()
        if self.kept.device.type == "cuda":
            torch.cuda.empty_cache()

    def make_room(self, needed: int) -> None:
        """Unload the model of the target beside this one, unless more bytes than needed are free."""
        if self.beside is None or not self.beside.loaded:
            return
        from pytest_injectivity.core.free_memory import free_memory

        devices = self.kept.devices
        if len(devices) * min(map(free_memory, devices)) <= needed:
            self.beside.unload()

    def stand_beside(self, other: "Target") -> None:
        """Share store and journal with another target that this one is compared with.

        Both models are in memory together only where they fit.
        """
        self._journal = other.journal
        if self.config.kept_folder is None:
            self._scratch = other.kept.store.folder
        self.beside, other.beside = other, self

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer, for which no weights are loaded; None where it has none.

        Raises:
            ModelError: it cannot be loaded.
        """
        if self.loaded:
            return self.unrounded.tokenizer
        self._prepare_process()
        from pytest_injectivity.models.loading import load_tokenizer

        return load_tokenizer(self.checkpoint)

    @cached_property
    def facts(self) -> "ModelFacts":
        """Facts on the model, such as its size; weights are loaded only where it is new to the store.

        Raises:
            ModelError: it cannot be audited.
        """
        from pytest_injectivity.models.facts import ModelFacts

        if self.described:
            return ModelFacts.described(self.checkpoint, self.config.dtype)
        facts = self.kept.model.remember(ModelFactsKey(), lambda: ModelFacts.of(self.unrounded))
        if self.config.activation_bits is not None:
            facts = replace(facts, activations=str(self.config.activation_bits))
        if facts.quantized is not None and facts.quantized.caution:
            self.watcher.announce(f"injectivity: {facts.quantized.caution}")
        if facts.not_finite:
            self.watcher.announce(f"injectivity: {self.config.model}: {facts.not_finite_line}")
        return facts

    @property
    def prompts(self) -> "PromptSet":
        """The prompt set, tokenized for the model.

        Raises:
            PromptError: it cannot be audited.
        """
        if self._prompts is None:
            self._prompts = self._made_prompts()
        return self._prompts

    def use_prompts(self, prompts: "PromptSet") -> None:
        """Audit these prompts, tokenized for the model already, instead of those the config names."""
        self._prompts = prompts

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

    def expect(self, layers: Iterable[Layer]) -> None:
        """Remember that these layers are about to be measured, so that one pass serves all of them."""
        self._expected.update(layers)

    def together(self, layer: Layer) -> set[Layer]:
        """The layers measured in one pass with this one: those of the config and those expected."""
        return {layer, *self.layers, *self._expected}

    @cached_property
    def assumptions(self) -> "Assumptions":
        """The assumptions of SPEC section 3 on the architecture, looked up in this model."""
        from pytest_injectivity.models.assumptions import assumptions

        found = self.kept.model.remember(AssumptionsKey(), lambda: assumptions(self.unrounded))
        if (grid := self.config.activation_bits) is None:
            return found
        return replace(found, plain=False, activations=grid.words)

    @cached_property
    def rounded(self) -> Rounded | None:
        """How activations are rounded as the model runs, and which prompts the scales come from."""
        self.use("activation_bits")
        return rounded_of(self)

    def remember(self, key: NumberKey, compute: "Callable[[], T]") -> T:
        """Returns a number of this model and prompt set: read from the store, or computed and kept.

        Args:
            key: names the number and holds every setting it depends on beside model and prompts.
            compute: computes it: frozen dataclasses of arrays and plain data. It runs in one process at
                a time, and not at all where the store has the number.
        """
        return self.entry.remember(key, compute)

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
        """The name of a prompt in reports: index, keyed hash, length; its text only when asked for."""
        return prompt_name(self.prompts, prompt, self._key, shown=self.config.show_prompts)

    def name_of_token(self, token: int) -> str:
        """The name of a token in reports: a keyed hash; its id and text only when asked for."""
        if not self.config.show_prompts:
            return token_name(token, self._key)
        return token_name(token, self._key, shown=True, tokenizer=self.tokenizer)

    def reproduce(self) -> str:
        """The command that repeats this audit; a test run adds the test's name."""
        return " ".join(filter(None, ("pytest", self.where, self.command_line)))

    @property
    def command_line(self) -> str:
        """The options of this audit, or of the run that it is a part of, as a command line."""
        return self.config.command_line() if self._command is None else self._command

    def _prepare_process(self) -> None:
        hush()
        if said := settle_threads(self.workers):
            self.watcher.announce(said)
        import_quietly()

    @property
    def identity(self) -> str:
        """A name for the loaded model and the prompts; targets of one name have equal numbers."""
        return self.entry.folder.name

    @property
    def journal(self) -> "Journal":
        """Where this process's numbers come from: computed here, or read from the store."""
        if self._journal is None:
            from pytest_injectivity.store.journal import Journal

            self._journal = Journal(self._run) if self._run else Journal()
        return self._journal

    @cached_property
    def kept(self) -> "Kept":
        """The store of this target, and the keys of what is measured."""
        self._prepare_process()
        from pytest_injectivity.audit.target.target_store import Kept

        return Kept(self.config, self.checkpoint, self.watcher, self.journal, self._scratch)

    @cached_property
    def entry(self) -> "Entry":
        """The store's entry for all that depends on the model and the prompts."""
        return self.kept.of_prompts(self.prompts, self.rounded)


def by_depth(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """Sort layers, shallow first."""
    return tuple(sorted(layers, key=depth))
