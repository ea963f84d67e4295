"""``pytest-injectivity calibrate``: measures trusted models, writes thresholds into a suite's ini."""

import argparse
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from pytest_injectivity.commands.answer import Answer
from pytest_injectivity.core.progress import Silent
from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import OptionError

if TYPE_CHECKING:
    from pytest_injectivity.commands.answer import Commands
    from pytest_injectivity.config.audit_config import AuditConfig

_INI, _FOLDER = "pytest.ini", "injectivity"
_SAMPLES, _SIZE = 3, 300


def add_calibrate(commands: "Commands") -> None:
    """Add the command to the parser's."""
    calibrate = commands.add_parser(
        "calibrate",
        help="measure models you trust, and write the gate's thresholds from them",
        description="Measures a parent and children of it that you trust on samples of prompts, others"
        " than the gate judges where there are enough, and writes thresholds with their reasons into"
        " the ini of the quantization gate; its other lines stay. Prompts, layers and device are the"
        " ini's.",
    )
    calibrate.add_argument("parent", metavar="PARENT", help="as --injx-reference takes it")
    calibrate.add_argument(
        "children",
        nargs="*",
        default=[],  # else argparse would call it required
        metavar="CHILD",
        help="a trusted child, as --injx-model takes it",
    )
    for name, metavar, said in (
        ("quantization", "KIND", "as --injx-quantization does"),
        ("dtype", "DTYPE", "as --injx-dtype does"),
    ):
        calibrate.add_argument(
            f"--{name}",
            action="append",
            default=[],
            metavar=metavar,
            help=f"makes a child of the parent, {said} (may be given again)",
        )
    calibrate.add_argument("--prompts", metavar="PROMPTS", help="instead of the ini's")
    calibrate.add_argument(
        "--samples",
        type=int,
        default=_SAMPLES,
        metavar="K",
        help=f"samples of prompts, no prompt in two of them (default: {_SAMPLES})",
    )
    calibrate.add_argument(
        "--size",
        type=int,
        default=_SIZE,
        metavar="N",
        help=f"the most prompts of a sample (default: {_SIZE})",
    )
    calibrate.add_argument(
        "--any",
        action="store_true",
        help="models of other precisions are judged too, by the most lenient of the thresholds",
    )
    place = calibrate.add_mutually_exclusive_group()
    place.add_argument(
        "--suite",
        type=Path,
        default=Path(_FOLDER),
        metavar="DIR",
        help=f"the folder of the gate (default: {_FOLDER})",
    )
    place.add_argument("--ini", type=Path, metavar="FILE", help=f"its ini (default: {_INI} of it)")
    calibrate.set_defaults(command=_calibrate)


class _Told(Silent):
    """Tells on stderr what is measured."""

    def announce(self, sentence: str) -> None:
        """Print the sentence."""
        print(sentence, file=sys.stderr, flush=True)  # noqa: T201 - a command's progress


def _calibrate(given: argparse.Namespace) -> Answer:
    for name in ("samples", "size"):
        if getattr(given, name) < 1:
            raise OptionError(f"--{name} {getattr(given, name)} is not accepted: give at least 1")
    path = (given.ini or given.suite / _INI).resolve()
    text = _read(path)
    configs = _children(given, _values(path, text))

    from pytest_injectivity.core.files import write_whole
    from pytest_injectivity.core.ini_text import with_values
    from pytest_injectivity.thresholds.measuring import measure
    from pytest_injectivity.thresholds.writing import ini_values

    measured = measure(configs, number=given.samples, size=given.size, watcher=_Told())
    date = datetime.now(UTC).date().isoformat()
    values = ini_values(measured, date, any_other=given.any)
    try:
        write_whole(path, with_values(text, values))
    except OSError as error:
        raise OptionError(f"{path} cannot be written: {error.strerror or error}") from None
    written = [line for value in values for line in [*value.written(), ""]]
    return Answer("\n".join([*written, f"written to {path}", f"next: {_next(given, configs)}"]))


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise OptionError(
            f"{one_line(str(path))} cannot be read ({reason}): name the gate by --suite=DIR or"
            " --ini=FILE; pytest-injectivity init DIR copies one"
        ) from None


def _values(path: Path, text: str) -> dict[str, str]:
    """The values of the ini's section, which is that of a gate."""
    from iniconfig import IniConfig, ParseError

    try:
        found = IniConfig(str(path), data=text).sections.get("pytest", {})
    except ParseError as error:
        raise OptionError(f"{one_line(str(error))}: pytest cannot read it either") from None
    if not any(name.startswith("gate_") for name in found):
        raise OptionError(
            f"{one_line(str(path))} has no threshold of the quantization gate (gate_drift, …) in its"
            " section [pytest]: name the gate's ini; pytest-injectivity init DIR copies one"
        )
    return dict(found)


def _children(given: argparse.Namespace, ini: dict[str, str]) -> "list[AuditConfig]":
    """The configs of the children, each with its parent."""
    from pytest_injectivity.config.ini_settings import config_with_ini

    named = {"prompts": given.prompts, "reference": given.parent, "model": given.parent}
    base = config_with_ini(ini, named)
    configs = [replace(base, model=child) for child in given.children]
    configs += [replace(base, quantization=one) for one in given.quantization]
    configs += [replace(base, dtype=one) for one in given.dtype]
    if not configs:
        raise OptionError(
            "no child is given: name one you trust, or have the parent quantized, by"
            " --quantization=bnb-nf4 or --dtype=bfloat16"
        )
    return configs


def _next(given: argparse.Namespace, configs: "list[AuditConfig]") -> str:
    """The command that judges the first child."""
    first = configs[0]
    suite = ["-c", str(given.ini), str(given.ini.parent)] if given.ini else [str(given.suite)]
    flags = [f"--injx-model={first.model}", f"--injx-reference={first.reference}"]
    if first.quantization is not None:
        flags.append(f"--injx-quantization={first.quantization}")
    if first.dtype != "auto":
        flags.append(f"--injx-dtype={first.dtype}")
    return " ".join(quote(word) for word in ["pytest", *suite, *flags])
