"""The reader of the headers of ``.gguf`` files, against the library's and on damaged files."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_injectivity.quantization.gguf_header import read_gguf_header
from pytest_injectivity.testing import tiny_decoder
from tests.gguf_files import write_gguf

gguf = pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("header")
    return write_gguf(
        tiny_decoder("llama", hidden=32),
        folder / "model.gguf",
        entries={"general.name": "näme", "attention.causal": True, "sections": [1.0, 2.5]},
        kinds={"blk.0.attn_q.weight": "Q4_1", "blk.0.attn_k.weight": "F16"},
    )


def test_it_reads_what_the_library_reads(path: Path) -> None:
    """Every entry and every tensor's type, shape and place."""
    found, expected = read_gguf_header(path), gguf.GGUFReader(path)
    assert {tensor.name for tensor in expected.tensors} == set(found.tensors)
    for tensor in expected.tensors:
        mine = found.tensors[tensor.name]
        assert tensor.tensor_type.name == mine.kind
        assert tuple(map(int, reversed(tensor.shape))) == mine.shape
        assert (tensor.data_offset, tensor.n_bytes) == (mine.start, mine.nbytes)
    assert "llama" == found.architecture
    assert "näme" == found.metadata["general.name"]
    assert (1.0, 2.5) == found.described["sections"]
    assert (True, 2) == (found.described["attention.causal"], found.described["block_count"])
    fields = {name for name in expected.fields if not name.startswith("GGUF.")}
    assert fields == set(found.metadata) | set(found.counts)


def test_texts_of_a_vocabulary_are_counted(tmp_path: Path) -> None:
    """They are stepped over: nothing here needs them."""
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_token_list(["a", "bc", ""])
    writer.add_tensor("x", np.ones((2, 3), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = read_gguf_header(tmp_path / "model.gguf")
    assert {"tokenizer.ggml.tokens": 3} == found.counts
    assert (2, 3) == found.tensors["x"].shape


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(kept=st.floats(0, 1, exclude_max=True))
def test_a_file_cut_anywhere_is_an_error_of_values(
    kept: float, path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In its header or in its last tensor's data."""
    data = path.read_bytes()
    ends = max(one.start + one.nbytes for one in read_gguf_header(path).tensors.values())
    cut = tmp_path_factory.mktemp("cut") / "model.gguf"
    cut.write_bytes(data[: int(kept * ends)])
    with pytest.raises(ValueError, match=r"truncated|empty|begin with GGUF"):
        read_gguf_header(cut)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(place=st.integers(0, 1500), value=st.binary(min_size=1, max_size=9))
def test_no_bytes_do_more_than_raise_an_error_of_values(
    place: int, value: bytes, path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A header of any bytes is read or refused, within the size of the file."""
    data = path.read_bytes()
    changed = tmp_path_factory.mktemp("changed") / "model.gguf"
    changed.write_bytes(data[:place] + value + data[place + len(value) :])
    try:
        found = read_gguf_header(changed)
    except ValueError:
        return
    assert all(one.start + one.nbytes <= len(data) + 9 for one in found.tensors.values())
