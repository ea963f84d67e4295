"""Measures models for the reference bag; how well each is foretold by the others: ``./dev bag``.

``./dev bag measure MODEL...`` measures each model on the same prompts and puts it into the package's
``reference_bag.json``, in place of an older one of its name: a folder, a ``.gguf`` file, a built-in
model, or NAME=MODEL where the last part of a path is no good name. A model of which too few prompts
fit the context is left out and named.

``./dev bag coverage`` leaves out one model at a time, makes an interval of the others' numbers at each
relative depth, and counts how often the number of the model left out lies in it.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.core import strict_json as strict
from pytest_injectivity.core.files import write_whole
from pytest_injectivity.core.numbers import show
from pytest_injectivity.core.versions import version
from pytest_injectivity.errors import PromptError
from pytest_injectivity.results.metrics import MeasuredLayer, measure
from pytest_injectivity.results.reference_bag import (
    COMPARED,
    FEWEST,
    Bag,
    BagModel,
    LayerNumber,
    read_bag,
)

FILE = Path(__file__).parents[1] / "pytest_injectivity" / "results" / "reference_bag.json"
PROMPTS, N, METRIC, SEED = "builtin:stdlib", 1000, "levenshtein", 0
CONFIDENCE = 0.9
DIGITS = 6


def measured(name: str, model: str, dtype: str) -> BagModel | str:
    """A model's numbers, or why there are none."""
    config = AuditConfig(
        model=model,
        prompts=PROMPTS,
        max_prompts=N,
        prompt_metric=METRIC,
        seed=SEED,
        dtype=dtype,
        no_cache=True,
    )
    try:
        audit = Audit(config)
        prompts = audit.target.prompts
    except PromptError as error:
        return f"{name}: {error}"
    if len(prompts) < N:
        return (
            f"{name}: {len(prompts)} of {N} prompts fit its context of {audit.target.facts.context}"
        )
    facts = audit.target.facts
    every = [*range(1, facts.n_layers + 1), "norm"]
    found = {str(layer): numbers(audit, layer) for layer in every}
    return BagModel(
        name=name,
        family=facts.family,
        n_layers=facts.n_layers,
        hidden=facts.hidden_size,
        vocab=facts.vocab_size,
        parameters=facts.parameters,
        positions=positions(audit.target.decoder.model),
        dtype=facts.dtype,
        quantized=None if facts.quantized is None else facts.quantized.kind,
        prompt_hash=prompts.hash,
        special_tokens=prompts.special_tokens,
        longest=prompts.longest,
        layers=found,
    )


def numbers(audit: Audit, layer: int | str) -> dict[str, float]:
    """The numbers of a layer that the bag keeps."""
    geometry = audit.measurements.geometry(audit.target.one_layer(layer))
    every = measure(MeasuredLayer(geometry, 0, None, None))
    return {
        name: float(f"{value:.{DIGITS}g}")
        for name in COMPARED
        if isinstance(value := every[name], float)
    }


def positions(model: Any) -> str:
    """How a model tells positions, by the names of its modules."""
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    if any("rotary" in name for name in names):
        return "rotary"
    return "learned" if names & {"wpe", "embed_positions", "position_embeddings"} else "other"


def write(models: Sequence[str], dtype: str) -> None:
    """Measure models and put them into the bag."""
    found = {one.name: one for one in known()}
    for given in models:
        name, equals, model = given.partition("=")
        model = model if equals else given
        name = name if equals else model.rstrip("/").rpartition("/")[2].removeprefix("builtin:")
        one = measured(name, model, dtype)
        print(f"left out: {one}" if isinstance(one, str) else f"measured {one.name}", flush=True)
        if not isinstance(one, str):
            found[name] = one
    bag = Bag(
        prompts=PROMPTS,
        n=N,
        prompt_metric=METRIC,
        seed=SEED,
        date=datetime.now(UTC).date().isoformat(),
        version=version("pytest-injectivity"),
        models=tuple(sorted(found.values(), key=lambda one: (one.hidden, one.name))),
    )
    write_whole(FILE, strict.dumps(bag) + "\n")


def known() -> tuple[BagModel, ...]:
    """The models that are in the bag, where they were measured on these prompts."""
    if not FILE.exists():
        return ()
    bag = read_bag(FILE)
    same = (bag.prompts, bag.n, bag.prompt_metric, bag.seed) == (PROMPTS, N, METRIC, SEED)
    return bag.models if same else ()


def contents(bag: Bag) -> Iterator[str]:
    """A table of the models in the bag."""
    yield "| model | family, positions | width, layers | parameters | vocabulary | dtype |"
    yield "| --- | --- | --- | --: | --: | --- |"
    for one in bag.models:
        precision = f"{one.quantized}, {one.dtype}" if one.quantized else one.dtype
        yield (
            f"| {one.name} | {one.family}, {one.positions} | {one.hidden}, {one.n_layers} |"
            f" {one.parameters:,} | {one.vocab:,} | {precision} |"
        )


def coverage(bag: Bag) -> Iterator[str]:
    """A table of how often each model's numbers lie in the interval that the others foretell."""
    yield f"| left out | {' | '.join(COMPARED)} |"
    yield f"| --- |{' --: |' * len(COMPARED)}"
    counted: dict[str, list[int]] = {number: [0, 0] for number in COMPARED}
    for one in bag.models:
        cells = []
        for number in COMPARED:
            inside = [covered(bag, one, layer, number) for layer in one.layers]
            known = [each for each in inside if each is not None]
            counted[number][0] += sum(known)
            counted[number][1] += len(known)
            cells.append(f"{sum(known)} of {len(known)}")
        yield f"| {one.name} | {' | '.join(cells)} |"
    shares = [f"{100 * hits / every:.0f} %" if every else "–" for hits, every in counted.values()]
    yield f"| all | {' | '.join(shares)} |"


def covered(bag: Bag, one: BagModel, layer: str, number: str) -> bool | None:
    """Whether a number lies in the interval that the other models foretell; None: there is none."""
    value = one.layers[layer].get(number)
    depth = None if layer == "norm" else int(layer) / one.n_layers
    others = [each.at(depth, number) for each in bag.models if each is not one]
    known = [each for each in others if each]
    if not value or len(known) < 3:  # noqa: PLR2004 - a variance of two says nothing
        return None
    low, high = interval(known)
    return low <= value <= high


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Where one more of such numbers lies with `CONFIDENCE`, if their logarithms are Gaussian."""
    from scipy.stats import t

    logs = [math.log(value) for value in values]
    middle = sum(logs) / len(logs)
    spread = math.sqrt(sum((one - middle) ** 2 for one in logs) / (len(logs) - 1))
    reach = t.ppf(0.5 + CONFIDENCE / 2, len(logs) - 1) * spread * math.sqrt(1 + 1 / len(logs))
    return math.exp(middle - reach), math.exp(middle + reach)


def said(bag: Bag) -> str:
    """The bag and its coverage, as Markdown."""
    head = (
        f"{len(bag.models)} models on {bag.n:,} prompts of `{bag.prompts}` ({bag.prompt_metric}, seed"
        f" {bag.seed}), measured {bag.date} with version {bag.version}:"
    )
    widest = max(interval_width(bag), default=math.nan)
    note = (
        f"Intervals of {100 * CONFIDENCE:g} % from the other models' logarithms at the same relative"
        f" depth; the widest spans a factor of {show(widest, 2)}:"
    )
    places = "What the evidence of a verdict says of the middle layer of each:"
    parts = (*contents(bag), "", places, "", "```text", *sentences(bag), "```", "", note, "")
    return "\n".join([head, "", *parts, *coverage(bag)])


def sentences(bag: Bag) -> Iterator[str]:
    """What is said of the middle layer of each model, held against the others."""
    for one in bag.models:
        layer = one.n_layers // 2
        given = LayerNumber(
            prompts=bag.prompts,
            n=bag.n,
            prompt_metric=bag.prompt_metric,
            family=one.family,
            n_layers=one.n_layers,
            hidden=one.hidden,
            vocab=one.vocab,
            layer=layer,
            number="normalized_margin_q",
            value=one.layers[str(layer)]["normalized_margin_q"],
        )
        said = bag.says(given) or f"nothing: fewer than {FEWEST} models of another shape"
        yield f"{one.name}, layer {layer}: {said}"


def interval_width(bag: Bag) -> Iterator[float]:
    """How many times the upper end of each interval is its lower end."""
    for one in bag.models:
        for number in COMPARED:
            others = [each.at(None, number) for each in bag.models if each is not one]
            known = [each for each in others if each]
            if len(known) > 2:  # noqa: PLR2004 - as in `covered`
                low, high = interval(known)
                yield high / low


def main(arguments: Sequence[str]) -> None:
    """Measure models, or print what the bag says of itself."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("measure", "coverage"))
    parser.add_argument("models", nargs="*", metavar="[NAME=]MODEL")
    parser.add_argument("--dtype", default="float32")
    given = parser.parse_args(arguments)
    if given.what == "measure":
        write(given.models, given.dtype)
    print(said(read_bag(FILE)))


if __name__ == "__main__":
    main(sys.argv[1:])
