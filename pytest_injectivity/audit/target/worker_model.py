"""The model of a target in a worker: another process, perhaps of another machine, that loads it once."""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pytest_injectivity.audit.target.target import Target
from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.errors import ModelError

if TYPE_CHECKING:
    import torch

    from pytest_injectivity.models.decoder import Decoder
    from pytest_injectivity.quantization.activation_hooks import Rounding

T = TypeVar("T")

_LOADED: "dict[AuditConfig, Decoder]" = {}
_PREPARED: dict[str, Any] = {}
_LOADING = Lock()


@dataclass(frozen=True)
class WorkerModel:
    """What a worker needs to compute what a target's own process would, to the last bit.

    Attributes:
        config: how the model is loaded, and nothing else of the audit's: no prompts and no key.
        rounding: of its activations as it runs.
        computed: the code, the libraries and the machine that bits depend on.
    """

    config: AuditConfig
    rounding: "Rounding | None"
    computed: tuple[str, ...]

    @classmethod
    def of(cls, target: Target) -> Self:
        """The model of a target. It is in memory only where its activations are rounded."""
        given, device = target.config, target.kept.device
        config = AuditConfig(
            model=target.checkpoint.located.anywhere,
            quantization=given.quantization,
            dtype=given.dtype,
            device=device.type,
            load=given.load,
        )
        rounds = given.activation_bits is not None
        return cls(config, target.decoder.rounding if rounds else None, _computed_by(device))

    def decoder(self) -> "Decoder":
        """The model, loaded by the first call in this process.

        Raises:
            ModelError: it cannot be audited, or its bits would be other ones here.
        """
        with _LOADING:
            _PREPARED.clear()
            return self._decoder()

    def prepared(self, name: str, prepare: "Callable[[Decoder], T]") -> T:
        """What a job makes of the model once in each process, for all of its parts there.

        It is held until another job begins.

        Args:
            name: of the job.
            prepare: makes it.

        Raises:
            ModelError: as `decoder` raises it.
        """
        with _LOADING:
            if name not in _PREPARED:
                _PREPARED.clear()
                _PREPARED[name] = prepare(self._decoder())
            made: T = _PREPARED[name]
            return made

    def _decoder(self) -> "Decoder":
        if self.config not in _LOADED:
            _LOADED.clear()
            _LOADED[self.config] = self._loaded()
        plain = _LOADED[self.config]
        return plain if self.rounding is None else plain.rounded(self.rounding)

    def _loaded(self) -> "Decoder":
        target = Target(self.config)
        decoder = target.unrounded
        here = _computed_by(decoder.device)
        if here != self.computed:
            other = next(one for one in here if one not in self.computed)
            raise ModelError(
                f"a worker computes other bits than this process: it has {other!r}: let all workers have"
                " one kind of machine, and the same libraries"
            )
        return decoder


def _computed_by(device: "torch.device") -> tuple[str, ...]:
    from pytest_injectivity.store.provenance import code, libraries, machine

    return (f"pytest-injectivity {code()}", *libraries(), *machine(device))
