"""The models of a run: one, or several by name, each with a config of its own.

Several are named by repeated ``--injx-model`` flags, by lines of the ini value ``injx_model``, or by
rows of the ini value ``injx_models``::

    injx_models =
        nf4 model=checkpoints/parent quantization=bnb-nf4 reference=checkpoints/parent
        awq model=checkpoints/my-awq reference=checkpoints/parent

Every other option is the same for all of them.
"""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pytest_injectivity.config.audit_config import AuditConfig, config_from
from pytest_injectivity.errors import OptionError

TABLE = "injx_models"
"""The ini value with a row for each model."""

_OF_A_MODEL = ("model", "reference", "quantization", "dtype", "activation_bits")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}", re.ASCII)
_LONGEST = 60


@dataclass(frozen=True)
class RunModels:
    """The configs of a run.

    Attributes:
        configs: by the name of the model, in the order given; one model has the empty name.
        common: the options that hold for all of them.
        sources: the models as flags give them; empty where a table in an ini file does.
    """

    configs: Mapping[str, AuditConfig]
    common: AuditConfig
    sources: tuple[str, ...] = ()

    @classmethod
    def one(cls, config: AuditConfig) -> "RunModels":
        """A run of one model."""
        return cls({"": config}, config)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the models; empty where there is one without a name."""
        return tuple(name for name in self.configs if name)

    def command_line(self) -> str:
        """The flags that differ from the defaults, quoted for a shell; see `AuditConfig`."""
        models = shlex.join(f"--injx-model={source}" for source in self.sources)
        return " ".join(filter(None, (models, self.common.command_line())))

    def name_of(self, config: AuditConfig) -> str:
        """The name of any config in reports: that of a model of the run, or one made of its differences.

        It depends on the config alone, so that all workers of a run choose the same.
        """
        for name, known in self.configs.items():
            if known == config:
                return name
        made = short_names([config.model])[0]
        own = {one: getattr(config, one) for one in _OF_A_MODEL}
        kinds = (own["quantization"], own["activation_bits"])
        made = "-".join([made, *(_slug(str(kind)) for kind in kinds if kind is not None)])
        made += f"-{config.dtype}" if config.dtype != "auto" else ""
        if made in self.configs or replace(self.common, **own) != config:
            made += f"-{_hash(config)}"
        return made


def run_models(
    given: Mapping[str, object], ini: Mapping[str, object], table: Sequence[str] = ()
) -> RunModels:
    """The models of a run: a flag wins over its ini value, which wins over the default.

    Args:
        given: values of flags by field name, of ``model`` a list; None was not given.
        ini: values of ini options by field name; of ``model`` a text with a line for each model.
        table: the rows of ``injx_models``.

    Raises:
        OptionError: a value is not accepted, or a model is there twice.
    """
    flags, lines = given.get("model"), _lines(ini.get("model"))
    if flags is None and table:
        if lines:
            raise OptionError(f"injx_model and {TABLE} both name models: give one of them")
        return _of_table(given, ini, table)
    sources = flags if isinstance(flags, list) else lines if flags is None else [flags]
    others = {**given, "model": None}, {**ini, "model": None}
    # By whichever name a model was given, an error says it.
    at = 0 if flags is not None else 1
    configs = []
    for source in sources or [None]:
        own = list(others)
        own[at] = {**own[at], "model": source}
        configs.append(config_from(*own))
    if len(configs) == 1:
        return RunModels.one(configs[0])
    names = short_names([one.model for one in configs])
    _check_apart(names, configs)
    return RunModels(
        dict(zip(names, configs, strict=True)),
        config_from(*others),
        tuple(one.model for one in configs),
    )


def short_names(sources: Sequence[str]) -> list[str]:
    """Short names of models, all different: the last parts of their paths or hub ids.

    >>> short_names(["checkpoints/nf4", "org/my-model@main", "builtin:gpt2-stdlib"])
    ['nf4', 'my-model', 'gpt2-stdlib']
    >>> short_names(["a/best", "b/best"])
    ['a-best', 'b-best']
    """
    parts = [_parts(source) for source in sources]
    names = [_slug(one[-1]) for one in parts]
    for count in range(2, max(map(len, parts)) + 1):
        if len(set(names)) == len(names):
            break
        names = [
            _slug("-".join(one[-count:])) if names.count(name) > 1 else name
            for one, name in zip(parts, names, strict=True)
        ]
    unique: list[str] = []
    for name in names:  # two revisions of one id, say
        number = next(
            n for n in range(1, len(names) + 1) if (name if n == 1 else f"{name}-{n}") not in unique
        )
        unique.append(name if number == 1 else f"{name}-{number}")
    return unique


def _of_table(
    given: Mapping[str, object], ini: Mapping[str, object], table: Sequence[str]
) -> RunModels:
    configs: dict[str, AuditConfig] = {}
    for row in table:
        name, own = _row(row)
        if name in configs:
            raise OptionError(f"{TABLE}: {name} is there twice: give every row a name of its own")
        try:
            configs[name] = config_from(given, {**ini, **own})
        except OptionError as error:
            raise OptionError(f"{TABLE}, {name}: {error}") from None
    _check_apart(list(configs), list(configs.values()))
    return RunModels(configs, config_from(given, {**ini, "model": None}))


def _row(row: str) -> tuple[str, dict[str, str]]:
    """The name and the options of a row of the table."""
    accepted = (
        f"give NAME model=MODEL, and any of {', '.join(f'{one}=' for one in _OF_A_MODEL[1:])}"
    )
    try:
        name, *parts = shlex.split(row)
    except ValueError as error:
        raise OptionError(f"{TABLE}: {row!r}: {error}: {accepted}") from None
    if not _NAME.fullmatch(name):
        raise OptionError(
            f"{TABLE}: {name!r} is no name: give letters, digits, '.', '_' and '-', at most 60"
        )
    own: dict[str, str] = {}
    for part in parts:
        option, equals, value = part.partition("=")
        if option not in _OF_A_MODEL or not equals or not value or option in own:
            raise OptionError(f"{TABLE}, {name}: {part!r} is not accepted: {accepted}")
        own[option] = value
    if "model" not in own:
        raise OptionError(f"{TABLE}, {name}: no model is named: {accepted}")
    return name, own


def _check_apart(names: Sequence[str], configs: Sequence[AuditConfig]) -> None:
    """Refuse a model that is there twice: its tests would have different names and equal results."""
    seen: dict[AuditConfig, str] = {}
    for name, config in zip(names, configs, strict=True):
        path = _existing(config.model)
        placed = config if path is None else replace(config, model=os.path.realpath(path))
        if placed in seen:
            raise OptionError(
                f"the model {config.model} is there twice, loaded the same way ({seen[placed]} and"
                f" {name}): name it once"
            )
        seen[placed] = name


def _existing(source: str) -> Path | None:
    """The file or folder that a model is in; None for hub ids and built-in models."""
    try:
        path = Path(source).expanduser()
    except RuntimeError:  # the home of nobody
        return None
    return path if path.exists() else None


def _parts(source: str) -> list[str]:
    """The parts of a path or a hub id, of which the last ones name it."""
    path = _existing(source)
    # A link's own name is the stable one.
    text = source.partition("@")[0] if path is None else os.path.abspath(path)  # noqa: PTH100 - as said
    text = text.removeprefix("builtin:")
    return [part for part in re.split(r"[/\\]+", text) if part] or [source]


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")[-_LONGEST:].strip("-.") or "model"


def _lines(text: object) -> list[str]:
    return [line.strip() for line in str(text or "").splitlines() if line.strip()]


def _hash(config: AuditConfig) -> str:
    """A short name of everything that the config says."""
    import hashlib

    return hashlib.sha256(config.command_line().encode()).hexdigest()[:6]
