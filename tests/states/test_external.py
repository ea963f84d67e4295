"""Files of states: what is written is read, and what does not fit is refused by name."""

import json
import pickle
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from pytest_injectivity import OptionError
from pytest_injectivity.models.facts import ModelFacts
from pytest_injectivity.states.external import ExternalStates, read_states, save_states
from pytest_injectivity.states.external_header import FileLimits

FACTS = ModelFacts("gpt2", 2, 8, 64, 16, "float32", 1000)
IDS = [[1, 2, 3], [4], [5, 6]]


def _states(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(len(ids), 8, generator=generator).to(dtype) for ids in IDS]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "states.safetensors"


def _refused(path: Path, message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)) as caught:
        read_states(path, FACTS)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def _same(expected: list[Tensor], found: ExternalStates) -> None:
    assert len(expected) == len(found.states)
    for one, other in zip(expected, found.states, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("layer", [0, 1, 2, "norm"])
def test_what_is_written_is_read(path: Path, dtype: torch.dtype, layer: int | str) -> None:
    """Bit for bit, in its own dtype, with everything that is said of it."""
    save_states(path, _states(dtype), layer, ids=IDS, observation_error=[3.0, 0.5])  # type: ignore[arg-type]
    found = read_states(path, FACTS)
    _same(_states(dtype), found)
    assert (layer, (3.0, 0.5)) == (found.layer, found.observation_error)
    assert tuple(map(tuple, IDS)) == found.ids
    assert str(dtype) == f"torch.{found.dtype}"
    assert (True, True, True) == found.finite


@given(
    lengths=st.lists(st.integers(1, 16), min_size=1, max_size=5),
    error=st.none() | st.floats(0, 1e300) | st.lists(st.floats(0, 9), min_size=1, max_size=3),
    with_ids=st.booleans(),
)
@settings(max_examples=10)
def test_any_lengths_and_errors_are_kept(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    error: float | list[float] | None,
    with_ids: bool,  # noqa: FBT001 - Hypothesis gives it by name
) -> None:
    """Optional things are there exactly where they were given."""
    path = tmp_path_factory.mktemp("any") / "s.safetensors"
    states = [torch.full((length, 8), float(length)) for length in lengths]
    ids = [list(range(length)) for length in lengths] if with_ids else None
    save_states(path, states, 1, ids=ids, observation_error=error)
    found = read_states(path, FACTS)
    _same(states, found)
    assert (None if ids is None else tuple(map(tuple, ids))) == found.ids
    expected = error if error is None or isinstance(error, list) else [error]
    assert (None if expected is None else tuple(expected)) == found.observation_error


def test_one_prompt_needs_no_list(path: Path) -> None:
    """Views of one tensor may be given too."""
    whole = torch.randn(5, 8)
    save_states(path, whole, "norm")
    _same([whole], read_states(path, FACTS))
    save_states(path, [whole[:2], whole[2:]], "norm")
    _same([whole[:2], whole[2:]], read_states(path, FACTS))
    save_file({"states": whole, "ids": torch.arange(5)}, path, {"layer": "1", "format": "pt"})
    found = read_states(path, FACTS)
    _same([whole], found)
    assert ((0, 1, 2, 3, 4),) == found.ids


def test_padded_states_are_cut_to_their_lengths(path: Path) -> None:
    """What pads them may be anything, NaN too."""
    padded = torch.full((3, 4, 8), torch.nan)
    ids = torch.full((3, 4), 63, dtype=torch.int32)
    for at, (rows, own) in enumerate(zip(_states(), IDS, strict=True)):
        padded[at, : len(rows)] = rows
        ids[at, : len(own)] = torch.tensor(own)
    tensors = {"states": padded, "ids": ids, "lengths": torch.tensor([3, 1, 2])}
    save_file(tensors, path, {"layer": "2"})
    found = read_states(path, FACTS)
    _same(_states(), found)
    assert tuple(map(tuple, IDS)) == found.ids
    assert (True, True, True) == found.finite


def test_nan_is_read_and_known(path: Path) -> None:
    """It is for a check to fail with it."""
    states = _states()
    states[1][0, 3] = torch.nan
    states[2][1, 0] = torch.inf
    save_states(path, states, 1)
    assert (True, False, False) == read_states(path, FACTS).finite


def test_only_the_owner_may_read_the_file(path: Path) -> None:
    """It is as sensitive as the prompts; one that is there is replaced, and nothing else is left."""
    path.write_text("old")
    save_states(path, _states(), 1)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert [path] == list(path.parent.iterdir())


def test_the_digest_is_of_the_content(path: Path) -> None:
    """Equal files have one, others another."""
    digests = []
    for error in (None, None, 0.5):
        save_states(path, _states(), 1, observation_error=error)
        digests.append(read_states(path, FACTS).digest)
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"states": []}, "there is no tensor 'states'"),
        ({"states": torch.ones(3)}, "tensor 'states.0' has shape [3]: 2 dimensions"),
        ({"states": torch.ones(3, 8).long()}, "tensor 'states.0' is I64: F16, BF16, F32, F64 are"),
        ({"states": [torch.ones(1, 8), torch.ones(1, 9)]}, "states of 2 widths and 1 dtypes"),
        ({"states": [torch.ones(1, 8), torch.ones(1, 8).half()]}, "of 1 widths and 2 dtypes"),
        ({"layer": -1}, "layer '-1' in its metadata: 0 to L or norm is accepted"),
        ({"ids": [[1, 2]]}, "tensor 'ids.0' has 2 ids for 3 positions: one a position"),
        ({"ids": [[1, 2, -3]]}, "token id -3: at least 0 is accepted"),
        ({"ids": [[1, 2, 3], [4]]}, "tensor 'ids.1' is not known"),
        ({"observation_error": -1.0}, "observation_error '-1.0' in its metadata: a finite number"),
        ({"observation_error": float("nan")}, "observation_error 'NaN' in its metadata"),
        ({"observation_error": []}, "observation_error '[]' in its metadata"),
        ({"observation_error": [1.0, float("inf")]}, "observation_error '[1.0, Infinity]'"),
    ],
)
def test_what_could_not_be_read_is_not_written(
    path: Path, given: dict[str, Any], message: str
) -> None:
    """The error names the file that was to be written, and leaves nothing behind."""
    arguments = {"states": torch.ones(3, 8), "layer": 1, **given}
    with pytest.raises(OptionError, match=re.escape(message)) as caught:
        save_states(path, **arguments)
    assert str(caught.value).startswith(f"{path}: ")
    assert [] == list(path.parent.iterdir())


@pytest.mark.parametrize(
    ("tensors", "metadata", "message"),
    [
        ({"states": torch.ones(3, 9)}, {}, "has states of width 9: the model's have 8"),
        ({"states": torch.ones(17, 8)}, {}, "has 17 positions: the model's context is 16"),
        ({"states": torch.ones(3, 8)}, {"layer": "3"}, "layer '3' in its metadata: 0 to 2 or norm"),
        ({"states": torch.ones(3, 8)}, {"layer": "1.0"}, "layer '1.0' in its metadata"),
        ({"states": torch.ones(3, 8)}, {"layer": ""}, "no layer in its metadata"),
        (
            {"states": torch.ones(1, 8), "ids": torch.tensor([64])},
            {},
            "token id 64: 0 to 63 is accepted",
        ),
        (
            {"states": torch.ones(1, 8), "ids": torch.ones(1)},
            {},
            "tensor 'ids' is F32: I32, I64 are accepted",
        ),
        (
            {"states": torch.ones(1, 8), "positions": torch.ones(1)},
            {},
            "tensor 'positions' is not known",
        ),
        ({"hidden": torch.ones(1, 8)}, {}, "there is no tensor 'states', nor 'states.0'"),
        (
            {"states.0": torch.ones(1, 8), "states.2": torch.ones(1, 8)},
            {},
            "tensor 'states.1' is missing: numbers count from 0",
        ),
        (
            {
                "states.0": torch.ones(1, 8),
                "states.1": torch.ones(1, 8),
                "ids.1": torch.tensor([1]),
            },
            {},
            "ids of 1 of 2 prompts",
        ),
        ({"states": torch.ones(2, 3, 8)}, {}, "padded states need a tensor 'lengths'"),
        ({"states": torch.ones(0, 8)}, {}, "has shape [0, 8]"),
        (
            {"states": torch.ones(2, 3, 8), "lengths": torch.tensor([1, 4])},
            {},
            "a length of 4: 1 to 3 is accepted",
        ),
        (
            {"states": torch.ones(2, 3, 8), "lengths": torch.tensor([1])},
            {},
            "one integer for each of 2 prompts",
        ),
        (
            {
                "states": torch.ones(2, 3, 8),
                "lengths": torch.ones(2).long(),
                "ids": torch.ones(2, 2),
            },
            {},
            "tensor 'ids' is F32",
        ),
        (
            {"states": torch.ones(1, 8)},
            {"observation_eror": "1"},
            "metadata 'observation_eror' are not known",
        ),
        ({"states": torch.ones(1, 8)}, {"observation_error": "true"}, "observation_error 'true'"),
        ({"states": torch.ones(1, 8)}, {"observation_error": "1e999"}, "observation_error '1e999'"),
        ({"states": torch.ones(1, 8)}, {"observation_error": "[" * 9**5}, "observation_error '[[["),
    ],
)
def test_what_does_not_fit_is_refused(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str], message: str
) -> None:
    """The file, the thing and what is accepted, on one line."""
    save_file(tensors, path, {"layer": "1", **metadata})
    _refused(path, message)


def test_a_file_without_metadata_is_refused(path: Path) -> None:
    """States of an unknown layer cannot be inverted."""
    save_file({"states": torch.ones(1, 8)}, path)
    _refused(path, "no layer in its metadata: 0 to 2 or norm is accepted")


def _header(header: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"states": [1.0]}), "it would be unpickled, which runs code"),
        (b"PK\x03\x04 as torch.save writes it", "it would be unpickled, which runs code"),
        (b"", "it is no complete safetensors file: "),
        (b"\xff" * 64, "it is no complete safetensors file: "),
        ((2**40).to_bytes(8, "little"), "it is no complete safetensors file: "),
        (_header(b"[]"), "invalid JSON in header"),
        (_header(b"{" * 100), "invalid JSON in header"),
        (_header(b"[" * 10**5), "invalid JSON in header"),
        (_header(json.dumps({"states": 3}).encode()), "invalid JSON in header"),
        (_header(b'{"__metadata__": 3}'), "invalid JSON in header"),
        (_header(b'{"__metadata__": {"layer": 3}}'), "expected a string"),
        (
            _header(b'{"states": {"dtype": "F32", "shape": ["a", 8], "data_offsets": [0, 0]}}'),
            "invalid JSON in header",
        ),
        (
            _header(b'{"states": {"dtype": "\\u001b[31m", "shape": [8], "data_offsets": [0, 0]}}'),
            r"unknown variant `\x1b[31m`",
        ),
        (
            _header(
                b'{"__metadata__": {"layer": "1"},'
                b' "states": {"dtype": "F32", "shape": [9, 8], "data_offsets": [0, 0]}}'
            ),
            "it is no complete safetensors file: ",
        ),
    ],
)
def test_what_is_no_safetensors_file_is_refused(path: Path, content: bytes, message: str) -> None:
    """Nothing is unpickled, and nothing a header claims is allocated."""
    path.write_bytes(content)
    _refused(path, message)


@pytest.mark.parametrize("cut", [1, 4, 200])
def test_a_truncated_file_is_refused(path: Path, cut: int) -> None:
    """At its end, in its data and in its header; and one with bytes too many."""
    save_states(path, _states(), 1, ids=IDS)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    _refused(path, "it is no complete safetensors file")
    path.write_bytes(whole + b"\x00" * cut)
    _refused(path, "it is no complete safetensors file")


def test_a_huge_header_is_refused_before_it_is_read(path: Path) -> None:
    """3 MB of names are more than 10,000 prompts need."""
    save_file({"states": torch.ones(1, 8)}, path, {"layer": "1", "note": "x" * 3_000_000})
    _refused(path, "a header of 3,000,104 bytes: at most 2,097,152 are accepted")


@pytest.mark.parametrize("padded", [False, True])
def test_the_number_of_prompts_is_limited(path: Path, *, padded: bool) -> None:
    """It is counted in the header, in either layout."""
    save_states(path, _states(), 1)
    if padded:
        tensors = {"states": torch.ones(3, 1, 8), "lengths": torch.ones(3).long()}
        save_file(tensors, path, {"layer": "1"})
    with pytest.raises(OptionError, match="3 prompts: at most 2 are accepted"):
        read_states(path, FACTS, limits=FileLimits(prompts=2))
    assert 3 == len(read_states(path, FACTS, limits=FileLimits(prompts=3)).states)


def test_the_size_of_a_file_is_limited(path: Path) -> None:
    """What is read is held in memory."""
    save_states(path, _states(), 1)
    with pytest.raises(OptionError, match="bytes of states: at most 100 are accepted"):
        read_states(path, FACTS, limits=FileLimits(size=100))


def test_what_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    """With the system's own word."""
    _refused(tmp_path / "missing.safetensors", "it cannot be read: No such file or directory")
    _refused(tmp_path, "it is no file: a safetensors file is accepted")


def test_the_header_is_checked_before_states_are_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of another model's width costs no reading of its data."""
    save_states(path, torch.ones(3, 9), 1)
    opened: list[object] = []
    monkeypatch.setattr("pytest_injectivity.states.external.safe_open", opened.append)
    _refused(path, "has states of width 9")
    assert [] == opened


def test_names_cannot_steer_a_terminal(tmp_path: Path) -> None:
    """Of files, tensors and metadata."""
    path = tmp_path / "evil\x1b[31m.safetensors"
    save_file({"states": torch.ones(1, 8), "\x1b[31m": torch.ones(1)}, path, {"layer": "1"})
    made: list[Callable[[], object]] = [lambda: read_states(path, FACTS)]
    save_file({"states": torch.ones(1, 8)}, tmp_path / "b", {"layer": "\x1b\n"})
    made.append(lambda: read_states(tmp_path / "b", FACTS))
    assert made
    for read in made:
        with pytest.raises(OptionError) as caught:
            read()
        assert "\x1b" not in str(caught.value)
        assert "\n" not in str(caught.value)
