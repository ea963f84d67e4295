"""One contract for every layout of the registry, and what each alone refuses."""

import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pytest_injectivity import OptionError
from pytest_injectivity.core.layers import Layer
from pytest_injectivity.models.facts import ModelFacts
from pytest_injectivity.states.external_header import FileLimits
from pytest_injectivity.states.layouts.registry import LAYOUTS
from pytest_injectivity.states.served import ServedStates, is_served, read_served
from tests.served_files import WRITERS, Written, transposed, write

FACTS = ModelFacts("gpt2", 4, 8, 64, 16, "float32", 1000)
NAMES = [one.name for one in LAYOUTS]
IDS = (5, 1, 2, 9, 7)


def _layers(layout: str) -> tuple[Layer, ...]:
    return {"sglang": ("norm",), "own": (2,)}.get(layout, (1, 2, 4))


def _written(layout: str, ids: tuple[int, ...] = IDS, **values: Any) -> Written:
    generator = torch.Generator().manual_seed(len(ids))
    states = {one: torch.randn(len(ids), 8, generator=generator) for one in _layers(layout)}
    return Written(ids, states, **values)


def _refused(path: Path, message: str, **limits: Any) -> None:
    """One line that names the file and the thing."""
    with pytest.raises(OptionError, match=re.escape(message)) as caught:
        read_served(path, FACTS, **limits)
    said = str(caught.value)
    assert said.isprintable()
    assert str(path.parent) in said


def _same(written: Written, found: ServedStates) -> None:
    assert (written.ids,) == found.ids
    assert sorted(map(str, written.states)) == sorted(map(str, found.layers))
    for layer, states in written.states.items():
        torch.testing.assert_close(found.states[layer][0].float(), states, rtol=0, atol=0)


def test_every_layout_has_a_writer_here() -> None:
    """A new row is tested by this contract."""
    assert sorted(NAMES) == sorted(WRITERS)


@pytest.mark.parametrize("layout", NAMES)
def test_what_an_engine_wrote_is_read(tmp_path: Path, layout: str) -> None:
    """Ids and states, bit for bit, from the file and from its folder."""
    written = _written(layout)
    path = write(layout, tmp_path, written)
    found = read_served(path, FACTS)
    _same(written, found)
    assert (layout, 1, 0) == (found.layout, found.files, found.duplicates)
    assert found.digest == read_served(tmp_path, FACTS).digest


@pytest.mark.parametrize("layout", NAMES)
def test_the_last_tokens_make_a_row_a_prompt(tmp_path: Path, layout: str) -> None:
    """They are the states of the prompts at each layer."""
    written = _written(layout)
    found = read_served(write(layout, tmp_path, written), FACTS)
    layer = found.layers[-1]
    torch.testing.assert_close(found.last(layer).float(), written.states[layer][-1:])
    assert (1, layer) == (len(found.prompts), found.at(layer).layer)


@pytest.mark.parametrize("layout", NAMES)
def test_too_large_files_are_refused_before_memory_is_taken(tmp_path: Path, layout: str) -> None:
    """The limit is said."""
    path = write(layout, tmp_path, _written(layout))
    with pytest.raises(OptionError, match=r"(at most|more than) 100"):
        read_served(path, FACTS, limits=FileLimits(size=100))


@pytest.mark.parametrize("layout", NAMES)
def test_ids_that_the_model_lacks_are_refused(tmp_path: Path, layout: str) -> None:
    """They say that the states are of another model."""
    path = write(layout, tmp_path, _written(layout, (1, 64)))
    _refused(path, "token id 64: 0 to 63 is accepted")


@pytest.mark.parametrize("layout", ["vllm", "npz", "parquet"])
def test_layers_that_nobody_states_are_asked_for(tmp_path: Path, layout: str) -> None:
    """With the file to write."""
    path = write(layout, tmp_path, _written(layout), state_layers=False)
    _refused(path, 'write states.json beside it, such as {"layers": [1, 4]}')


@pytest.mark.parametrize("layout", [name for name in NAMES if name != "own"])
def test_another_width_is_another_model(tmp_path: Path, layout: str) -> None:
    """The model's is said."""
    path = write(layout, tmp_path, _written(layout))
    with pytest.raises(OptionError, match=r"the\s+model's states have width 16"):
        read_served(path, replace(FACTS, hidden_size=16))


@pytest.mark.parametrize("layout", ["vllm", "npz"])
def test_transposed_axes_are_named(tmp_path: Path, layout: str) -> None:
    """What they are, and what is accepted."""
    path = transposed(layout, tmp_path, _written(layout))
    _refused(path, "transposed axes: hidden_states has shape [3, 5, 8], which is layers x tokens x")


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".pkl", ".npy"])
def test_pickles_are_refused_with_what_to_do(tmp_path: Path, suffix: str) -> None:
    """They are not opened."""
    path = tmp_path / f"states{suffix}"
    path.write_bytes(b"\x80\x04}\x94.")
    _refused(path, "it would be unpickled, which runs code: read it where it was written")
    _refused(tmp_path, "safetensors.torch.save_file")


def test_a_compressed_file_is_to_be_unpacked(tmp_path: Path) -> None:
    """As vLLM's online connector writes them where it is asked to."""
    (tmp_path / "0.safetensors.zst").write_bytes(b"")
    _refused(tmp_path, "it is compressed: unpack it first (zstd -d)")


def test_a_name_that_would_move_the_cursor_is_escaped(tmp_path: Path) -> None:
    """In the errors of files and of what is in them."""
    path = tmp_path / "\x1b[31mred.safetensors"
    save_file(
        {"\x1b[2Jx": torch.ones(1), "hidden_states": torch.ones(1), "token_ids": torch.ones(1)},
        path,
    )
    (tmp_path / "states.json").write_text('{"layers": [1]}')
    with pytest.raises(OptionError, match="is not known") as caught:
        read_served(tmp_path, FACTS)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ('{"layers": [5]}', 'layer 5 is stated: 0 to 4 or "norm" is accepted'),
        ('{"layers": [1, 1, 2]}', "layers [1, 1, 2] are stated: each once is accepted"),
        ('{"layers": [1, 2]}', "tokens x layers x width with 2 layers stated"),
        ('{"layer": [1, 2]}', "layer"),
        ('{"layers": [1, 2, 4], "dtype": "int8"}', "dtype"),
        ('{"layout": "mine"}', "layout 'mine': vllm, speculators, sglang, npz, parquet, own are"),
        ("{", "states.json: "),
    ],
)
def test_what_is_stated_is_read_strictly(tmp_path: Path, said: str, message: str) -> None:
    """A misspelt name and a layer that the model lacks are refused."""
    path = write("vllm", tmp_path, _written("vllm"))
    (tmp_path / "states.json").write_text(said)
    _refused(path, message)


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    """A prompt that two requests had is read once, and counted."""
    for at, ids in enumerate([(1, 2, 3), (4, 5), (1, 2, 3)]):
        write("vllm", tmp_path, _written("vllm", ids)).rename(tmp_path / f"{at}.safetensors")
    found = read_served(tmp_path, FACTS)
    assert (((1, 2, 3), (4, 5)), 3, 1) == (found.ids, found.files, found.duplicates)
    assert "3 files of layout vllm; N = 2, 1 duplicate dropped, float32" in found.words


def test_files_of_two_layouts_are_refused(tmp_path: Path) -> None:
    """And what is no file of states is refused too."""
    write("npz", tmp_path, _written("npz"))
    write("vllm", tmp_path, _written("vllm"))
    _refused(tmp_path, "it is of another layout than cmpl-0-0.safetensors")
    (tmp_path / "README.md").touch()
    _refused(tmp_path, "README.md: it is no file of states: .safetensors, .json, .jsonl, .npz, .pa")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """As is one that is not there."""
    _refused(tmp_path / ".", "it holds no file of states")
    _refused(tmp_path / "none", "there is no such file or folder of states")


def test_what_is_named_is_recognized(tmp_path: Path) -> None:
    """A file of `save_states` keeps its own way, without ids too."""
    assert is_served(tmp_path)
    assert is_served(write("vllm", tmp_path / "a", _written("vllm")))
    assert not is_served(write("own", tmp_path / "b", _written("own")))
    assert not is_served(tmp_path / "none.safetensors")


def test_the_dtype_is_claimed_where_the_format_has_all(tmp_path: Path) -> None:
    """An .npz file has no bfloat16, so that what is stored in float32 says nothing."""
    coarse = replace(_written("npz"), dtype=torch.bfloat16)
    found = read_served(write("npz", tmp_path / "a", coarse), FACTS)
    assert (None, "bfloat16", "float32") == (found.claimed, found.computed, found.dtype)
    claimed = read_served(write("vllm", tmp_path / "b", coarse), FACTS)
    assert ("bfloat16", "bfloat16") == (claimed.claimed, claimed.dtype)


def _objects(path: Path) -> None:
    np.savez(path, token_ids=np.array([1]), hidden_states=np.array([None], dtype=object))


def _unknown(path: Path) -> None:
    np.savez(path, token_ids=np.array([1]), logits=np.zeros(3))


def _bomb(path: Path) -> None:
    """A header that promises a terabyte, and nothing behind it."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (2000, 3, 40000000), }"
    header += b" " * (118 - len(header)) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hidden_states.npy", b"\x93NUMPY\x01\x00" + b"\x77\x00" + header)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_objects, "array 'hidden_states' would be unpickled, which runs code"),
        (_unknown, "array 'logits' is not known: token_ids, hidden_states and"),
        (_bomb, "more than 8,589,934,592 bytes of states"),
        (lambda path: path.write_bytes(b"PK\x03\x04"), "it is no complete .npz file"),
    ],
)
def test_hostile_npz_files_are_refused(
    tmp_path: Path, make: Callable[[Path], None], message: str
) -> None:
    """Before anything of them is read."""
    path = tmp_path / "s.npz"
    make(path)
    _refused(path, message)


def test_prompts_of_one_npz_file_follow_one_another(tmp_path: Path) -> None:
    """Their lengths say where each begins."""
    path = write("npz", tmp_path, _written("npz"))
    states = np.arange(5 * 3 * 8, dtype=np.float32).reshape(5, 3, 8)
    np.savez(path, token_ids=np.arange(5), hidden_states=states, lengths=np.array([2, 3]))
    found = read_served(path, FACTS)
    assert ((0, 1), (2, 3, 4)) == found.ids
    torch.testing.assert_close(found.states[2][1], torch.from_numpy(states[2:, 1].copy()))
    np.savez(path, token_ids=np.arange(5), hidden_states=states, lengths=np.array([2, 2]))
    _refused(path, "lengths from 2, 4 in all: each at least 1 and 5 in all are accepted")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([[0.0] * 8], "the last token's row alone"),
        ([[[0.0] * 8] * 3], "3 rows for 5 token ids: what was cached is not computed again"),
        (
            [[[0.0] * 8] * 7],
            "hidden_states[0] has shape [7, 8]: 5 x 8 is accepted, one row for each",
        ),
        ([[[0.0] * 7 + ["x"]] * 5], "hidden_states hold no numbers"),
        ([[[0.0] * 8, *[[0.0]] * 4]], "rows of 2 widths"),
        (None, "ask for them with return_hidden_states=True"),
    ],
)
def test_answers_that_hold_other_rows_are_refused(
    tmp_path: Path, answer: object, message: str
) -> None:
    """With what gives the rows of the prompt."""
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"input_ids": IDS, "meta_info": {"hidden_states": answer}}))
    _refused(path, message)


def test_answers_may_stand_one_a_line(tmp_path: Path) -> None:
    """As a log of requests has them."""
    rows = [[float(at)] * 8 for at in range(2)]
    lines = [
        json.dumps({"input_ids": ids, "meta_info": {"hidden_states": [rows]}})
        for ids in ([1, 2], [3, 4])
    ]
    path = tmp_path / "r.jsonl"
    path.write_text("\n".join(lines))
    assert ((1, 2), (3, 4)) == read_served(path, FACTS).ids


def test_parquet_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names it."""
    path = write("parquet", tmp_path, _written("parquet"))
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(Exception, match=r"pip install \"pytest-injectivity\[parquet\]\""):
        read_served(path, FACTS)


def test_a_sample_of_speculators_has_its_usual_layers(tmp_path: Path) -> None:
    """Where nothing is stated, those that its script asks vLLM for."""
    facts = replace(FACTS, n_layers=12)
    states = {layer: torch.randn(5, 8) for layer in (2, 6, 9, 12)}
    path = write("speculators", tmp_path, Written(IDS, states), state_layers=False)
    found = read_served(path, facts)
    assert (2, 6, 9, 12) == found.layers
    torch.testing.assert_close(found.states[9][0], states[9])
