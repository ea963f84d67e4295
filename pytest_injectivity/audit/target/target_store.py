"""The store of an audit, with the entries of its model and of its prompt set."""

import shutil
import tempfile
import weakref
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.core.progress import UNCOUNTED, Watcher
from pytest_injectivity.models.checkpoint import Checkpoint
from pytest_injectivity.models.devices import resolve_devices
from pytest_injectivity.prompts.promptset import PromptSet
from pytest_injectivity.quantization.grid import Rounded
from pytest_injectivity.store.contents import checkpoint_hash
from pytest_injectivity.store.entry import Entry
from pytest_injectivity.store.journal import Journal
from pytest_injectivity.store.keys import LoadedKey, ModelKey, PromptsKey, in_order
from pytest_injectivity.store.provenance import code, libraries, machine
from pytest_injectivity.store.store import Store

if TYPE_CHECKING:
    import torch

# The rooms whose code captured rows depend on; numbers depend on the whole package.
_ROOMS = ("core", "models", "prompts", "quantization", "states", "store")
_WAITING = "another process computes this"


class Kept:
    """The store of an audit, and the keys of what it measures.

    Args:
        config: what is audited and how.
        checkpoint: the model's checkpoint.
        watcher: receives progress while another process is waited for.
        journal: this process's journal.
        scratch: where nothing is kept, the folder of this run; where none is given, a new folder that
            is removed with this object.
    """

    def __init__(
        self,
        config: AuditConfig,
        checkpoint: Checkpoint,
        watcher: Watcher,
        journal: Journal,
        scratch: Path | None,
    ) -> None:
        self.config = config
        self.checkpoint = checkpoint
        self.watcher = watcher
        self.journal = journal
        self._scratch = scratch

    @cached_property
    def store(self) -> Store:
        """The store.

        Raises:
            OptionError: its folder is not accepted.
        """
        kept = self.config.kept_folder
        return Store(
            self._own_folder() if kept is None else kept,
            limit=self.config.cache_size,
            journal=self.journal,
            waiting=self._waiting,
            temporary=kept is None,
        )

    @cached_property
    def device(self) -> "torch.device":
        """Where the model's states come back, whether it is loaded or not."""
        return self.devices[0]

    @cached_property
    def devices(self) -> "tuple[torch.device, ...]":
        """The devices that the model computes on; several share its blocks."""
        return resolve_devices(self.config.device)

    @cached_property
    def model(self) -> Entry:
        """The entry for what depends on the model alone, with activations as they are."""
        return self.store.entry(self._model_key().digest, code())

    def of_model(self, rounded: Rounded | None) -> Entry:
        """The entry for what depends on the model and on how its activations are rounded as it runs."""
        if rounded is None:
            return self.model
        return self.store.entry(self._model_key(rounded).digest, code())

    def of_prompts(self, prompts: PromptSet, rounded: Rounded | None = None) -> Entry:
        """The entry for what depends on model and prompts: rows, and the numbers of their geometry.

        Args:
            prompts: the prompts.
            rounded: how activations are rounded as the model runs, and the prompts of the scales.
        """
        key = PromptsKey(
            self._model_key(rounded),
            prompts=in_order(prompts.hashes),
            special_tokens=prompts.special_tokens,
            batch_tokens=self.config.batch_tokens,
        )
        return self.store.entry(key.digest, code())

    @cached_property
    def loaded(self) -> LoadedKey:
        """The key of the checkpoint and how it is loaded, without the dtype it computes in."""
        located = self.checkpoint.located
        return LoadedKey(
            checkpoint=checkpoint_hash(self.checkpoint.folder, self.store.contents, located.gguf),
            quantization=self.config.quantization,
            machine=tuple(dict.fromkeys(part for one in self.devices for part in machine(one))),
            device=" ".join(map(str, self.devices)),
            libraries=libraries(),
            code=code(*_ROOMS),
        )

    def _model_key(self, rounded: Rounded | None = None) -> ModelKey:
        return ModelKey(self.loaded, self.config.dtype, rounded)

    def _own_folder(self) -> Path:
        if self._scratch is not None:
            return self._scratch
        folder = tempfile.mkdtemp(prefix="pytest-injectivity-")
        # Not TemporaryDirectory, which warns when nobody closes it: an audit has no
        # closing call.
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    def _waiting(self) -> AbstractContextManager[object]:
        return self.watcher.progress(_WAITING, UNCOUNTED)
