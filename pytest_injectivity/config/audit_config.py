"""What to audit and how: `AuditConfig`, which holds a value of every option of `Options`."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any

from pytest_injectivity.config.options import (
    KEY_VARIABLE,
    SHIPPED_MODEL,
    STDLIB_PROMPTS,
    Options,
    flag,
    ini_name,
    options,
)
from pytest_injectivity.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class AuditConfig(Options):
    """What to audit and how. Every field but ``hash_key`` is also the flag and ini value of that name.

    >>> AuditConfig(model="gpt2", max_prompts=500, layers="4:").command_line()
    '--injx-model=gpt2 --injx-max-prompts=500 --injx-layers=4:'

    Raises:
        OptionError: a value is not accepted; the message names the option, the value and what is.
    """

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if "switch" in option.metadata:
                if not isinstance(value, bool):
                    raise OptionError(
                        f"{flag(option)} {value!r} is not accepted: give true or false"
                    )
            elif value is not option.default:  # False equals 0, and is no seed
                object.__setattr__(self, option.name, _parsed(option, value))
        if self.cache_dir is not None:
            _expanded(self.cache_dir)
        if self.update_baseline and self.baseline is None:
            raise OptionError(
                "--injx-update-baseline: no baseline is named: give --injx-baseline=DIR as well"
            )

    @property
    def shipped(self) -> bool:
        """Whether the audited model is the small one this package ships."""
        return self.model == SHIPPED_MODEL

    @property
    def sample(self) -> int | None:
        """``max_prompts``, or the default sample of the standard library's thousands of texts."""
        if self.max_prompts is None and self.prompts == "builtin:stdlib":
            return STDLIB_PROMPTS
        return self.max_prompts

    @property
    def drops_overlong(self) -> bool:
        """Whether prompts longer than the context are dropped and counted; refused otherwise."""
        if self.overlong is None:
            return self.prompts.startswith("builtin:")
        return self.overlong == "drop"

    @property
    def cache_folder(self) -> Path | None:
        """The store: ``cache_dir``, or the operating system's place for this user's caches.

        None where there is no such place: no home, or none that can be written to.
        """
        if self.cache_dir is not None:
            return _expanded(self.cache_dir)
        from pytest_injectivity.core.user_folders import cache_folder

        return cache_folder("pytest-injectivity")

    @property
    def kept_folder(self) -> Path | None:
        """The store, where numbers are kept between runs; None with ``no_cache`` or without a place."""
        return None if self.no_cache else self.cache_folder

    def key(self) -> bytes:
        """The key of the prompt hashes: ``hash_key``, the file's, the environment's, or a random one.

        Raises:
            OptionError: the file cannot be read, or the file or variable is empty.
        """
        if self.hash_key is not None:
            return self.hash_key.encode()
        if self.hash_key_file is not None:
            return _key_of(Path(self.hash_key_file))
        given = os.environ.get(KEY_VARIABLE)
        if given is None:
            return os.urandom(16)
        if not given.strip():
            raise OptionError(f"{KEY_VARIABLE} is empty: set it to a text, or unset it")
        return given.strip().encode()

    def command_line(self) -> str:
        """The flags that differ from the defaults, quoted for a shell.

        Flags that change no number are left out: the key's file, the reports, the workers, where
        numbers are kept and in how much memory.
        """
        unsaid = {"hash_key_file", "report", "require", "show_prompts", "memory_budget", "workers"}
        unsaid |= {"decision", "evaluation", "reference_evaluation"}
        unsaid |= {"cache_dir", "cache_size", "no_cache", "update_baseline", "plan"}
        given = [option for option in options() if option.name not in unsaid]
        return shlex.join(text for option in given for text in self.flags(option))

    def flags(self, option: "Field[Any]") -> list[str]:
        """An option as flags, ``--injx-layers=4:``; none where it has its default."""
        value = getattr(self, option.name)
        if value == option.default:
            return []
        return [f"{flag(option)}={one}" for one in _each(value)]


def _expanded(folder: str) -> Path:
    try:
        return Path(folder).expanduser()
    except RuntimeError:
        raise OptionError(
            f"--injx-cache-dir: {folder!r}: there is no such home: give a folder without ~"
        ) from None


def _key_of(file: Path) -> bytes:
    """The content of a key's file, without the space around it."""
    try:
        key = file.expanduser().read_bytes().strip()
    except OSError as error:
        reason = error.strerror or str(error)
        raise OptionError(
            f"--injx-hash-key-file {file} cannot be read ({reason}): name a file that holds the key"
        ) from None
    if not key:
        raise OptionError(f"--injx-hash-key-file {file} is empty: write the key into it")
    return key


def _each(value: object) -> tuple[object, ...]:
    """The values that a flag is written once for: several where the flag is repeatable."""
    return value if isinstance(value, tuple) else (value,)


def config_from(given: Mapping[str, object], ini: Mapping[str, object]) -> AuditConfig:
    """The config of a run: a flag wins over its ini value, which wins over the default.

    Args:
        given: values of flags by field name; None was not given.
        ini: values of ini options by field name; None, the empty text and the empty list were not given.

    Raises:
        OptionError: a value is not accepted; the message says by which name it was given.
    """
    values: dict[str, Any] = {}
    for option in options():
        # An empty flag is a mistake, such as an unset variable; an ini has the empty text as default.
        for source, name, absent in (
            (given, flag(option), (None,)),
            (ini, ini_name(option), (None, "", [])),
        ):
            value = source.get(option.name)
            if value in absent:
                continue
            values[option.name] = (
                value if "switch" in option.metadata else _parsed(option, value, name)
            )
            break
    return AuditConfig(**values)


def _parsed(option: "Field[Any]", value: object, name: str | None = None) -> Any:
    try:
        return option.metadata["parse"](value)
    except OptionError as error:
        own = option.name if "argument_only" in option.metadata else flag(option)
        raise OptionError(f"{name or own}: {error}") from None
