"""Records the numbers of every check of an audit, so that a refactoring can prove that none changed.

    ./dev numbers record MODELS... --prompts PROMPTS.jsonl --out NUMBERS.json
    ./dev numbers same OLD.json NEW.json

Run it in the checkout whose numbers are wanted. Every verdict, layer summary, comparison, exposure and
sweep goes into one JSON file. The numbers are computed in float32 on one CPU thread from an empty
store, with every threshold, seed and quantile given by name.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# Before torch is imported: with one thread the bits of a row do not depend on the machine's load.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import geometry_parts as measured
import reading_parts as read
from recording import Found, Setting

import pytest_injectivity
from pytest_injectivity import compare_models

PARTS = {
    "geometry": measured.geometry,
    "metrics": measured.metrics,
    "challenge": measured.challenge,
    "rounded": measured.rounded,
    "baseline": measured.baseline,
    "sweeps": measured.sweeps,
    "recovery": read.recovery,
    "external": read.external,
    "parent": read.parent,
    "privacy": read.privacy,
}
# Left out of built-in models, whose prompts take seconds to tokenise for every audit anew.
NOT_OF_BUILTIN = ("metrics", "challenge", "rounded", "baseline", "sweeps")
SIDE_BY_SIDE = "models side by side"
BUILTIN, BUILTIN_PROMPTS = "builtin:", "builtin:stdlib"


def main() -> None:
    """Record the numbers of every model named."""
    given = _arguments()
    out = given.out.absolute()
    settings = {_name(one): _setting(one, given) for one in given.models}
    if len(settings) < len(given.models):
        raise SystemExit("two models have one name: give folders of different names")
    print(f"numbers of {Path(pytest_injectivity.__file__).parent}", file=sys.stderr)
    found: dict[str, Any] = {name: {} for name in settings}
    with tempfile.TemporaryDirectory() as folder:
        # Files of states and baselines are named without their folder, whose name is another each time.
        os.chdir(folder)
        for name, setting in settings.items():
            builtin = setting.prompts == BUILTIN_PROMPTS
            for part in (one for one in given.parts if not (builtin and one in NOT_OF_BUILTIN)):
                found[name][part] = _timed(name, part, setting)
        if not given.only:
            found[SIDE_BY_SIDE] = _side_by_side(list(settings.values()))
        os.chdir(out.parent)
    whole = {"tool": "record_numbers", "models": found}
    out.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "models", nargs="+", help="folders, or built-in models, whose prompts are builtin:stdlib"
    )
    parser.add_argument("--prompts", required=True, help="a .jsonl file of prompts")
    parser.add_argument("--out", required=True, type=Path, help="the JSON file that is written")
    parser.add_argument("--max-prompts", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hash-key", default="recorded")
    parser.add_argument("--only", action="append", choices=PARTS, help="only these parts")
    given = parser.parse_args()
    given.parts = given.only or list(PARTS)
    return given


def _name(model: str) -> str:
    return model if model.startswith(BUILTIN) else Path(model).absolute().name


def _setting(model: str, given: argparse.Namespace) -> Setting:
    if model.startswith(BUILTIN):
        prompts = BUILTIN_PROMPTS
    else:
        model, prompts = (str(Path(one).absolute()) for one in (model, given.prompts))
    return Setting(model, prompts, given.max_prompts, given.seed, given.hash_key)


def _timed(name: str, part: str, setting: Setting) -> dict[str, Any]:
    started, found = time.perf_counter(), Found()
    PARTS[part](setting, found)
    taken = time.perf_counter() - started
    print(f"{name} {part}: {len(found.numbers)} entries, {taken:.1f} s", file=sys.stderr)
    return found.numbers


def _side_by_side(settings: list[Setting]) -> dict[str, Any]:
    """All models, where there are several, on the same texts; built-in models have others."""
    found = Found()
    configs = [
        one.config(max_prompts=measured.SWEEP_COUNT)
        for one in settings
        if one.prompts != BUILTIN_PROMPTS
    ]
    if not configs[1:]:
        return {}
    found.take("compared", compare_models, configs)
    return found.numbers


if __name__ == "__main__":
    main()
