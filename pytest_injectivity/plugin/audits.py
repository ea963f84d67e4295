"""The audits of a process: one of each model of the run, and those that tests ask for beside them."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pytest_injectivity.config.audit_config import AuditConfig
from pytest_injectivity.config.run_models import RunModels
from pytest_injectivity.errors import OptionError

if TYPE_CHECKING:
    from pytest_injectivity.audit.audit import Audit

Make = Callable[[AuditConfig, str], "Audit"]
"""Makes the audit of a config, under the name of its model in reports."""


class Audits:
    """The audits of this process, each made when a test first asks for it.

    Of the models of the run one is loaded at a time; of the audits beside them likewise.

    Args:
        models: the models of the run.
        make: makes an audit.
    """

    def __init__(self, models: RunModels, make: Make) -> None:
        self.models = models
        self._make = make
        self._made: dict[str, Audit] = {}
        self._latest: dict[bool, str] = {}

    def __iter__(self) -> "Iterator[Audit]":
        """The audits that were made."""
        return iter(tuple(self._made.values()))

    def of_model(self, name: str) -> "Audit":
        """The audit of a model of the run; the one loaded before it is unloaded."""
        return self._of(name, self.models.configs[name])

    def of(self, config: AuditConfig, name: str = "") -> "Audit":
        """The audit of any config.

        Args:
            config: what is audited and how.
            name: of the model in reports; empty: one made of the config.

        Raises:
            OptionError: another config has the name.
        """
        return self._of(name or self.models.name_of(config), config)

    def _of(self, name: str, config: AuditConfig) -> "Audit":
        beside = name not in self.models.configs
        known = self._made.get(name)
        wanted = config if beside else self.models.configs[name]
        if wanted != config or (known is not None and known.config != config):
            raise OptionError(
                f"the name {name!r} is that of another audit of this run: give one of its own"
            )
        if (before := self._latest.get(beside)) not in (None, name):
            self._made[before].unload()
        if known is None:
            known = self._made[name] = self._make(config, name)
        self._latest[beside] = name
        return known
