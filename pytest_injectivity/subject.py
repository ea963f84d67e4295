"""What is audited: a model and a prompt set, what is known of them, and where it is kept."""

import hmac
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, cast

from pytest_injectivity.errors import OptionError
from pytest_injectivity.hush import hush
from pytest_injectivity.layers import Layer, LayerSpec, resolve_layers
from pytest_injectivity.options import AuditConfig
from pytest_injectivity.summary import RunSummary
from pytest_injectivity.text import one_line
from pytest_injectivity.threads import settle_threads
from pytest_injectivity.watcher import Silent, Watcher

if TYPE_CHECKING:
    from pytest_injectivity.kept import Kept
    from pytest_injectivity.models.assumptions import Assumptions
    from pytest_injectivity.models.decoder import Decoder
    from pytest_injectivity.prompts.promptset import PromptSet
    from pytest_injectivity.prompts.settings import SpecialTokens
    from pytest_injectivity.states.entry import Entry
    from pytest_injectivity.states.facts import ModelFacts
    from pytest_injectivity.states.journal import Journal

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
    """

    def __init__(self, config: AuditConfig | None = None, **process: Unpack[Process]) -> None:
        self.config = config or AuditConfig()
        self.watcher: Watcher = process.get("watcher") or Silent()
        self._workers = process.get("workers", 1)
        self._key = process.get("key") or self.config.key()
        self._run = process.get("run")
        self._scratch = process.get("scratch")
        self.where = ""

    @cached_property
    def decoder(self) -> "Decoder":
        """The model.

        Raises:
            ModelError: it cannot be audited.
        """
        self._settle_threads()
        from pytest_injectivity.models.loading import load_decoder

        config = self.config
        return load_decoder(
            config.model,
            dtype=config.dtype,
            device=config.device,
            quantization=config.quantization,
        )

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer, for which no weights are loaded; None where it has none.

        Raises:
            ModelError: it cannot be loaded.
        """
        if "decoder" in self.__dict__:
            return self.decoder.tokenizer
        self._settle_threads()
        from pytest_injectivity.models.loading import load_tokenizer

        return load_tokenizer(self.config.model)

    @cached_property
    def facts(self) -> "ModelFacts":
        """What is known of the model; its weights are loaded only where it is new to the store.

        Raises:
            ModelError: it cannot be audited.
        """
        from pytest_injectivity.states.facts import ModelFacts

        facts = self._kept.model.remember("facts", lambda: ModelFacts.of(self.decoder))
        if facts.quantised is not None and facts.quantised.caution:
            self.watcher.announce(f"injectivity: {facts.quantised.caution}")
        return facts

    @cached_property
    def prompts(self) -> "PromptSet":
        """The prompt set, tokenised for the model.

        Raises:
            PromptError: it cannot be audited.
        """
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

        return self._kept.model.remember("assumptions", lambda: assumptions(self.decoder))

    def remember(self, name: str, compute: "Callable[[], T]") -> T:
        """A number of this model and prompt set, from the store where it has it.

        Args:
            name: what it is, with every setting it depends on beside model and prompts.
            compute: gives frozen dataclasses of arrays and plain data; it runs in one process at a
                time, and in none while another run's number is there.
        """
        return self._entry.remember(name, compute)

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

    def name_of_token(self, token: int) -> str:
        """How reports name a token: by a keyed hash; its id and text only when asked for."""
        from pytest_injectivity.prompts.promptset import prompt_hash

        digest = hmac.digest(self._key, prompt_hash([token]).encode(), "sha256").hex()[:10]
        if not self.config.show_prompts:
            return f"token ({digest})"
        tokenizer = self.tokenizer
        text = "" if tokenizer is None else f" {one_line(repr(tokenizer.decode([token])))}"
        return f"token {token} ({digest}){text}"

    def run_summary(self) -> RunSummary:
        """What was audited, as plain data."""
        facts, prompts = self.facts, self.prompts
        return RunSummary(
            model=one_line(self.config.model),
            revision=self._kept.located.revision,
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
            versions={name: version(name) for name in _VERSIONED} | self._quantising,
            quantised=None if facts.quantised is None else asdict(facts.quantised),
            numbers=self._journal.origin,
        )

    @property
    def _quantising(self) -> dict[str, str]:
        """The versions of what loads and runs quantised weights, where there are any."""
        from pytest_injectivity.models.kinds import installed

        return {} if self.facts.quantised is None else installed()

    def reproduce(self) -> str:
        """The command that repeats this audit; a test run adds the test's name."""
        return " ".join(filter(None, ("pytest", self.where, self.config.command_line())))

    def _settle_threads(self) -> None:
        hush()
        if said := settle_threads(self._workers):
            self.watcher.announce(said)

    @cached_property
    def _journal(self) -> "Journal":
        from pytest_injectivity.states.journal import Journal

        return Journal(self._run) if self._run else Journal()

    @cached_property
    def _kept(self) -> "Kept":
        self._settle_threads()
        from pytest_injectivity.kept import Kept

        return Kept(self.config, self.watcher, self._journal, self._scratch)

    @cached_property
    def _entry(self) -> "Entry":
        return self._kept.of_prompts(self.prompts)
