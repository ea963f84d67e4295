import json
import os
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_injectivity.core.strict_json import LARGEST, build, dumps, loads
from pytest_injectivity.core.text import one_line
from pytest_injectivity.errors import OptionError
from pytest_injectivity.results.saved_runs import (
    RESOLUTION,
    Recorded,
    Stamp,
    baseline_text,
    read_recorded,
    rounded,
)
from pytest_injectivity.results.summary import RunSummary
from tests.recordings import RUN, layer, report

STAMP = Stamp.of(build(RunSummary, RUN))
BASELINE = Recorded(STAMP, {"layer01": {"collisions": 0, "margin": 0.1234567, "resolution": 1e-05}})


@pytest.fixture
def read(tmp_path: Path) -> Callable[[object], Recorded]:
    """Reads what a file with this content holds."""

    def read(content: object) -> Recorded:
        path = tmp_path / "some.json"
        text = content if isinstance(content, str | bytes) else json.dumps(content)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return read_recorded(path)

    return read


Read = Callable[[object], Recorded]


def test_a_report_is_read(read: Read) -> None:
    """Its run as a stamp, its layers by label, near fractions a number each."""
    recorded = read(
        report(layer("layer01"), layer("layer01", 4, collisions=7), layer("norm", "4 per-token"))
    )
    assert STAMP == recorded.stamp
    assert ["layer01", "layer01 rounded to 4", "norm rounded to 4 per-token"] == list(
        recorded.layers
    )
    assert (0, 7) == tuple(one["collisions"] for one in list(recorded.layers.values())[:2])
    assert 0.0 == recorded.layers["layer01"]["near_fractions 0.001"]
    assert 0.0 == recorded.resolution


def test_what_was_not_measured_is_left_out(read: Read) -> None:
    """As of a layer whose rows are not finite."""
    numbers = read(report(layer("norm", margin=None, near_fractions=None))).layers["norm"]
    assert "margin" not in numbers
    assert not [name for name in numbers if name.startswith("near")]


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (report(cluster={"a": 1}), "it.run has the key 'cluster', which is not known"),
        (report(layer("norm", entropy=1.0)), "it.layers[0]: 'entropy' is no metric"),
        (report() | {"news": []}, "it has the key 'news', which is not known"),
    ],
)
def test_fields_that_are_not_known_are_refused(
    read: Read, plain: dict[str, Any], message: str
) -> None:
    """A misspelt name is not taken for a number that was not measured."""
    with pytest.raises(OptionError) as refused:
        read(plain)
    assert message in str(refused.value)


def test_how_a_model_is_rounded_is_one_word(read: Read) -> None:
    """A report says more of it than a baseline keeps."""
    quantized = {"kind": "bnb-nf4", "bits": 4.0, "share": 1.0, "layers": "14 Linear4bit"}
    rounded_to = {"grid": "4 per-token"}
    stamp = read(report(quantized=quantized, activations=rounded_to)).stamp
    assert ("bnb-nf4", "4 per-token") == (stamp.quantized, stamp.activations)
    assert (None, None) == (STAMP.quantized, STAMP.activations)


def test_a_baseline_is_read_back(read: Read) -> None:
    """Every number and the stamp."""
    assert replace(BASELINE, baseline=True) == read(baseline_text(BASELINE))


def test_a_baseline_is_made_for_git() -> None:
    """Sorted keys, one number a line, a newline at the end, ASCII."""
    text = baseline_text(replace(BASELINE, stamp=replace(STAMP, model="modèle\u202e")))
    assert text.endswith("}\n")
    assert text.isascii()
    plain = json.loads(text, object_pairs_hook=list)
    assert sorted(dict(plain)) == list(dict(plain))
    lines = [line.strip().rstrip(",") for line in text.splitlines()]
    assert {'"collisions": 0', '"margin": 0.1234567', '"resolution": 1e-05'} <= set(lines)
    assert baseline_text(BASELINE) == baseline_text(deepcopy(BASELINE))


@given(
    st.dictionaries(
        st.sampled_from(["margin", "resolution", "colipschitz"]), st.floats(1e-200, 1e200)
    )
)
def test_rounding_keeps_numbers_to_the_resolution(numbers: dict[str, float]) -> None:
    """Within the share that comparing allows for, and rounding again changes nothing."""
    kept = rounded(numbers)
    assert kept == rounded(kept)
    for name, value in numbers.items():
        assert abs(kept[name] - value) <= RESOLUTION * value
        assert len(f"{kept[name]:e}".partition("e")[0].replace(".", "").rstrip("0")) <= 6


def test_counts_are_not_rounded() -> None:
    """Ten million collisions and one more are not the same."""
    assert {"collisions": 10_000_001} == rounded({"collisions": 10_000_001})


def _broken(change: Callable[[dict[str, Any]], object], *, baseline: bool = False) -> str:
    plain = json.loads(baseline_text(BASELINE)) if baseline else report()
    change(plain)
    return json.dumps(plain)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it is damaged, cut short or no JSON"),
        (json.dumps(report())[:-30], "it is damaged, cut short or no JSON"),
        (b"\xff\xfe\xfa", "it is damaged, cut short or no JSON"),
        ("<<<<<<< HEAD\n{}", "it is damaged, cut short or no JSON"),
        ('{"tool": "pytest-injectivity", "n": NaN}', "NaN is no JSON"),
        ('{"a": 1, "a": 2}', "'a' is there twice"),
        ("[" * 100_000, "it is damaged, cut short or no JSON"),
        ('{"n": ' + "1" * 5000 + "}", "it is damaged, cut short or no JSON"),
        ("[]", "it is a list, which is no JSON object"),
        ("{}", "it was not written by pytest-injectivity"),
        (
            _broken(lambda plain: plain.update(schema=2)),
            "it has schema 2, and this version reads schema 1",
        ),
        (_broken(lambda plain: plain.update(schema=True)), "it has schema True"),
        (
            _broken(lambda plain: plain.update(complete=False)),
            "the run is not complete: it lost",
        ),
        (_broken(lambda plain: plain.update(run=None)), "the run measured nothing"),
        (
            _broken(lambda plain: plain.update(layers={})),
            "it.layers is an object, which is no list",
        ),
        (
            _broken(lambda plain: plain["layers"].append(1)),
            "it.layers[3] is 1, which is no JSON object",
        ),
        (_broken(lambda plain: plain["layers"][0].update(layer="layer1")), "'layer1' is no layer"),
        (
            _broken(lambda plain: plain["layers"][0].update(layer=["norm"])),
            "it.layers[0].layer is a list, which is no text",
        ),
        (_broken(lambda plain: plain["layers"][0].update(layer="norm")), "norm is there twice"),
        (_broken(lambda plain: plain["layers"][0].update(bits=4.5)), "it.layers[0].bits is 4.5"),
        (_broken(lambda plain: plain["layers"][0].update(bits="4\x1b[31m")), "is no layer"),
        (
            _broken(lambda plain: plain["layers"][0].update(margin=-1)),
            "layer01: margin is -1, which is no",
        ),
        (
            _broken(lambda plain: plain["layers"][0].update(margin="1")),
            "it.layers[0].margin is '1', which is no number",
        ),
        (
            _broken(lambda plain: plain["layers"][0].update(margin=True)),
            "it.layers[0].margin is True",
        ),
        (_broken(lambda plain: plain["layers"][0].update(collisions=10**400)), "beyond all floats"),
        (
            _broken(lambda plain: plain["layers"][0].update(near_fractions=[])),
            "it.layers[0].near_fractions is a list",
        ),
        (
            _broken(lambda plain: plain["layers"][0].update(near_fractions={"\x1b[2J": 1})),
            r"'near_fractions \x1b[2J' is no number of a layer",
        ),
        (_broken(lambda plain: plain["run"].pop("n")), "it.run.n is missing"),
        (_broken(lambda plain: plain["run"].update(n=-1)), "n is -1"),
        (
            _broken(lambda plain: plain["run"].update(dtype=32)),
            "it.run.dtype is 32, which is no text",
        ),
        (
            _broken(lambda plain: plain["run"].update(special_tokens=1)),
            "it.run.special_tokens is 1, which is neither true nor false",
        ),
        (_broken(lambda plain: plain["run"].update(versions=["a"])), "it.run.versions is a list"),
        (
            _broken(lambda plain: plain["run"].update(quantized={"kind": 4})),
            "it.run.quantized.kind is 4",
        ),
        (_broken(lambda plain: plain.update(schema="1"), baseline=True), "it has schema '1'"),
        (_broken(lambda plain: plain.update(layers=[]), baseline=True), "it.layers is a list"),
        (_broken(lambda plain: plain.pop("audited"), baseline=True), "it.audited is missing"),
        (
            _broken(lambda plain: plain["layers"]["layer01"].update(margn=1), baseline=True),
            "layer01: 'margn' is no number of a layer",
        ),
        (
            _broken(lambda plain: plain["layers"].update(layer02=3), baseline=True),
            "it.layers.layer02 is 3",
        ),
        (
            _broken(lambda plain: plain["layers"].update({"../x": {}}), baseline=True),
            "'../x' is no layer",
        ),
    ],
)
def test_what_is_damaged_is_refused(read: Read, content: str | bytes, message: str) -> None:
    """With the file, what is wrong with it and what is accepted, on one line."""
    with pytest.raises(OptionError) as refused:
        read(content)
    said = str(refused.value)
    assert message in said
    assert "some.json: " in said
    assert said.endswith("give a report of --injx-report=json:PATH, or a baseline")
    assert said.isprintable()


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Nor is a folder one, nor a pipe that nobody writes to."""
    os.mkfifo(tmp_path / "pipe")
    for name in ("none.json", ".", "pipe", "nul\0"):
        with pytest.raises(OptionError, match="there is no such file"):
            read_recorded(tmp_path / name)


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """Before it is parsed."""
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(OptionError, match="it has more than 16,777,216 bytes"):
        read_recorded(tmp_path / "large.json")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    """With the system's reason."""
    path = tmp_path / "mine.json"
    path.write_text("{}")
    path.chmod(0)
    with pytest.raises(OptionError, match=r"it cannot be read \(Permission denied\)"):
        read_recorded(path)


_odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def _is_safe(text: str) -> bool:
    """Whether there is nothing in it that `one_line` would escape."""
    return text == one_line(text, len(text))


@st.composite
def _odd_files(draw: st.DrawFn) -> dict[str, Any]:
    """A report or a baseline of which some values are anything."""
    plain: dict[str, Any] = json.loads(
        draw(st.sampled_from([json.dumps(report()), baseline_text(BASELINE)]))
    )
    for _ in range(draw(st.integers(1, 3))):
        place: Any = plain
        while isinstance(place, dict | list) and place:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys))
            if draw(st.booleans()) or not isinstance(place[key], dict | list):
                place[key] = draw(_odd)
                break
            place = place[key]
    return plain


@given(_odd_files())
def test_odd_files_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, plain: Any
) -> None:
    """Whatever is in them: numbers that are finite and at least 0, or one line that is safe to print."""
    path = tmp_path_factory.mktemp("odd") / "odd.json"
    path.write_text(json.dumps(plain))
    refused = ""
    try:
        recorded = read_recorded(path)
    except OptionError as error:
        refused = str(error)
    assert _is_safe(refused)
    if refused:
        return
    for numbers in recorded.layers.values():
        assert all(0 <= value < float("inf") for value in numbers.values())
    assert all(map(_is_safe, (recorded.stamp.model, *recorded.stamp.versions)))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Nobody writes a report by chance."""
    path = tmp_path_factory.mktemp("bytes") / "some.json"
    path.write_bytes(content)
    with pytest.raises(OptionError):
        read_recorded(path)


def test_differences_are_named_with_both_values() -> None:
    """Of the fields asked for; a hash by its first digits."""
    other = replace(STAMP, n=13, prompt_hash="f" * 64, dtype="bfloat16")
    assert [("n", "12", "13"), ("prompt_hash", "0123456789ab", "f" * 12)] == STAMP.differences(
        other, ("n", "prompt_hash", "seed")
    )


def test_a_stamp_is_plain_data() -> None:
    """What a baseline keeps of it is the stamp again."""
    assert STAMP == loads(Stamp, dumps(STAMP))
