"""Faults in synthesised files of serving engines: how many are named, how many sound files accused.

    ./dev bench served [--files 200] [--models FOLDER...]

Files in the layouts of engines' documentation are made from small models, every second one with one
fault planted (tests/served_plants.py). Each is judged by `assert_served_as_audited` as a user's would
be: in a folder of its own, against the checkpoint, with the resolution of the audit.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from pytest_injectivity import Audit, AuditConfig, OptionError, Verdict
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.testing import save_checkpoint

sys.path.insert(0, str(Path(__file__).parent.parent))  # the tests' writers of layouts
from tests.served_plants import Sampled, sample, small_models

PROMPTS = "builtin:random"


def main() -> None:
    """Judge the files, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--models", nargs="*", default=[], help="folders of further models")
    asked = parser.parse_args()
    began = time.perf_counter()
    models = {**small_models(), "gpt2-stdlib": load_decoder("builtin:gpt2-stdlib", device="cpu")}
    models |= {Path(one).name: load_decoder(one, device="cpu") for one in asked.models}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        audits = {name: _audit(root, name, model) for name, model in models.items()}
        files = sample(root / "files", models, asked.files)
        judged = [(one, _kinds(audits[one.model], one)) for one in files]
    _print(judged, list(models), time.perf_counter() - began)


def _audit(root: Path, name: str, decoder: Decoder) -> Audit:
    save_checkpoint(decoder, root / name)
    return Audit(
        AuditConfig(
            model=str(root / name),
            prompts=PROMPTS,
            max_prompts=64,
            device="cpu",
            cache_dir=str(root / "store"),
            special_tokens="no",
        )
    )


def _kinds(audit: Audit, one: Sampled) -> set[str]:
    """The kinds of faults that the verdict names; none where it passes."""
    judging = Audit(replace(audit.config, states=str(one.path)))
    judging.target.adopt(audit.decoder)
    judging.target.use_prompts(audit.prompts)
    try:
        verdict = judging.check_served_as_audited()
    except OptionError as error:
        return {"transposed axes"} if "transposed axes: " in str(error) else {str(error)}
    return set() if verdict.passed else _named(verdict)


def _named(verdict: Verdict) -> set[str]:
    lines = [
        line for reason in verdict.reasons for line in reason.evidence if " looked at)" in line
    ]
    return {line.partition(": ")[0] for line in lines} or {"off, and no fault named"}


def _print(judged: list[tuple[Sampled, set[str]]], models: list[str], seconds: float) -> None:
    sound = [(one, kinds) for one, kinds in judged if not one.plant]
    faulty = [(one, kinds) for one, kinds in judged if one.plant]
    print(
        f"{len(judged)} files of {len(models)} models ({', '.join(models)}) in {seconds:.0f} s;"
        f" {len(sound)} sound, of them accused: {sum(bool(kinds) for _, kinds in sound)}"
    )
    print("\n| fault planted | files | named by its kind |\n| --- | --: | --: |")
    total: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for one, kinds in faulty:
        total[one.plant] += 1
        right[one.plant] += kinds == {str(kind) for kind in one.kinds}
    for plant, count in sorted(total.items()):
        print(f"| {plant} | {count} | {right[plant]} |")
    print("\n| layout | sound, passed | faulty, named |\n| --- | --: | --: |")
    for layout in dict.fromkeys(one.layout for one, _ in judged):
        fine = [not kinds for one, kinds in sound if one.layout == layout]
        named = [
            kinds == {str(kind) for kind in one.kinds}
            for one, kinds in faulty
            if one.layout == layout
        ]
        print(f"| {layout} | {sum(fine)} of {len(fine)} | {sum(named)} of {len(named)} |")
    for one, kinds in judged:
        if kinds != {str(kind) for kind in one.kinds}:
            print(
                f"not as planted: {one.model} {one.layout} {one.plant or 'sound'}: {sorted(kinds)}"
            )


if __name__ == "__main__":
    main()
