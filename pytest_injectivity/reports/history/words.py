"""What the text and the page of a history both say."""

from pytest_injectivity.core.text import number_of, verb
from pytest_injectivity.results.history.course import BEFORE, FALSE_ALARMS, FIRST, FLOOR, HALF, WIDE
from pytest_injectivity.results.history.history import Findings, History
from pytest_injectivity.results.history.past_run import PastRun
from pytest_injectivity.results.history.track import ENOUGH, Track

RULE = (
    "A number of the last run has drifted where it is worse than the median of up to"
    f" {BEFORE} runs before it, or than the median of the first {FIRST}, by more than"
    f" {100 * FLOOR:g} % (distances in half precision: {100 * HALF:g} %; resolution and error:"
    f" {100 * WIDE:g} %; counts: 0; shares of pairs: two pairs) and by more than the noise of steps"
    f" from run to run explains (chance of any false alarm: {100 * FALSE_ALARMS:g} %)."
)
"""The rule, in a sentence."""


def subject(track: Track) -> str:
    """What a track's runs have in common."""
    stamp = track.stamp
    kinds = [stamp.family, f"{number_of(stamp.n_layers, 'layer')} of width {stamp.hidden}"]
    kinds += [one for one in (stamp.quantized, stamp.dtype) if one]
    kinds += [f"activations {stamp.activations}"] if stamp.activations else []
    prompts = f"{number_of(stamp.n, 'prompt')} of {stamp.prompts} [{stamp.prompt_hash[:12]}]"
    return f"{track.name} ({', '.join(kinds)}, {prompts})"


def span(track: Track) -> str:
    """How many runs, and from when to when."""
    first, last = track.runs[0].origin.short, track.runs[-1].origin.short
    counted = number_of(len(track.runs), "run")
    return f"{counted}, {first}" if len(track.runs) == 1 else f"{counted}, {first} to {last}"


def conclusion(findings: Findings) -> str:
    """What a track's runs tell, in a sentence."""
    if findings.track.ended:
        return "not judged: this model's later runs have other prompts or settings"
    if not findings.track.judged:
        return f"not judged: the last of {ENOUGH} runs is the first that is judged"
    numbers = sum(one.usual is not None for one in findings.courses)
    layers = len({one.label for one in findings.courses if one.usual is not None})
    judged = f"{number_of(numbers, 'number')} of {number_of(layers, 'layer')} judged"
    drifted = len(findings.flags)
    said = f"{drifted} {verb(drifted, 'is', 'are')} red" if drifted else "nothing drifted"
    better = f", {len(findings.better)} better" if findings.better else ""
    return f"{judged}: {said}{better}"


def changed(track: Track) -> list[tuple[str, str]]:
    """What changed from run to run and may explain a drift: name, and from what to what."""
    found: list[tuple[str, str]] = []
    before: dict[str, str] = {}
    for run, model in zip(track.runs, track.models, strict=True):
        stamp = model.stamp
        now = {"model": stamp.model, "device": stamp.device, "revision": stamp.revision or "none"}
        now |= dict(stamp.versions)
        found += [
            (run.origin.short, f"{name} {before[name]} -> {now.get(name, 'none')}")
            for name in before
            if before[name] != now.get(name, "none")
        ]
        before = now
    return found


def verdicts(run: PastRun, name: str) -> str:
    """How many places of a run's verdicts passed."""
    judged = run.models[name].judged.values()
    passed = sum(one.status == "PASS" for one in judged)
    return f"{passed} of {len(judged)}" if judged else "none"


def headline(history: History) -> str:
    """The whole in a line."""
    red = len(history.flags)
    runs, models = len(history.runs), len({findings.track.name for findings in history.findings})
    read = f"{number_of(runs, 'run')} of {number_of(models, 'model')}"
    left = number_of(len(history.left_out), "file")
    without = f", {left} left out" if history.left_out else ""
    if not any(findings.track.judged for findings in history.findings) and not red:
        return f"Not judged: {read}{without}"
    return f"Red: {red} in {read}{without}" if red else f"Green: nothing drifted in {read}{without}"
