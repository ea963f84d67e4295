import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, T5Config, T5ForConditionalGeneration

from pytest_injectivity.errors import ModelError, OptionError
from pytest_injectivity.models import weight_files
from pytest_injectivity.models.checkpoint import resolve
from pytest_injectivity.models.families import TABLE
from pytest_injectivity.models.loading import load, load_decoder
from pytest_injectivity.quantization.stored_tensors import StoredFile
from pytest_injectivity.testing import byte_tokenizer, save_checkpoint, tiny_decoder
from tests.quantized import needs
from tests.repetitions import SOME_FAMILIES, mostly_slow

Relative = Callable[[Tensor, Tensor], float]


IDS = torch.arange(20)[None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_checkpoint(tiny_decoder("llama", layers=3), tmp_path / "checkpoint")


def _rewrite(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _configure(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("family", mostly_slow(TABLE, *SOME_FAMILIES))
def test_a_saved_decoder_comes_back(family: str, tmp_path: Path) -> None:
    """A checkpoint of every family has the states of the decoder it was saved from."""
    decoder = tiny_decoder(family)
    loaded = load_decoder(str(save_checkpoint(decoder, tmp_path)))
    expected = decoder.states(IDS, [0, *decoder.layers])
    found = loaded.states(IDS, [0, *decoder.layers])
    assert (decoder.family, decoder.context) == (loaded.family, loaded.context)
    assert (str(tmp_path), None) == (loaded.source, loaded.tokenizer)
    for layer, states in expected.items():
        assert states.equal(found[layer])


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_auto_keeps_the_dtype_of_the_checkpoint(stored: torch.dtype, tmp_path: Path) -> None:
    """States are computed in the dtype the weights are stored in."""
    save_checkpoint(tiny_decoder(dtype=stored), tmp_path)
    assert stored == load_decoder(str(tmp_path)).dtype


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16", "float64"])
def test_a_dtype_that_is_told_wins(name: str, tmp_path: Path) -> None:
    """The states have the dtype asked for, whatever is stored."""
    save_checkpoint(tiny_decoder(dtype=torch.bfloat16), tmp_path)
    assert getattr(torch, name) == load_decoder(str(tmp_path), dtype=name).dtype


def test_float64_widens_the_stored_weights(tmp_path: Path, relative: Relative) -> None:
    """Weights stored in bfloat16 are widened as they are, and then nothing is rounded."""
    decoder = tiny_decoder("llama", dtype=torch.bfloat16)
    save_checkpoint(decoder, tmp_path)
    expected = decoder.as_float64().states(IDS, ["norm"])["norm"]
    found = load_decoder(str(tmp_path), dtype="float64").states(IDS, ["norm"])["norm"]
    assert relative(found, expected) <= 1e-14


@pytest.mark.parametrize("dtype", ["int8", "", "fp32", "torch.float32"])
def test_an_unknown_dtype_is_refused(dtype: str, folder: Path) -> None:
    """The message lists the dtypes."""
    with pytest.raises(OptionError, match=f"dtype '{dtype}' is not accepted: .* bfloat16"):
        load_decoder(str(folder), dtype=dtype)


@pytest.mark.parametrize("device", ["tpu", "", "cuda:x", "cpu:0", "meta"])
def test_an_unknown_device_is_refused(device: str, folder: Path) -> None:
    """The message lists the devices."""
    with pytest.raises(OptionError, match=rf"device '{device}' is not accepted: .* cuda:N, mps"):
        load_decoder(str(folder), device=device)


def test_a_device_this_machine_lacks_is_refused(folder: Path) -> None:
    """A GPU number past the last one is not accepted."""
    absent = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(OptionError, match=f"device '{absent}': this machine has"):
        load_decoder(str(folder), device=absent)


def test_the_device_told_is_used(folder: Path) -> None:
    """Parameters and states are on the CPU when that is asked for."""
    decoder = load_decoder(str(folder), device="cpu")
    assert torch.device("cpu") == decoder.device
    assert torch.device("cpu") == decoder.states(IDS, [1])[1].device


@pytest.mark.gpu
@pytest.mark.parametrize("family", TABLE)
def test_a_gpu_gives_the_states_of_the_cpu(family: str, tmp_path: Path, relative: Relative) -> None:
    """On a GPU every layer's states are those of the CPU up to float32 rounding."""
    save_checkpoint(tiny_decoder(family), tmp_path)
    cpu = load_decoder(str(tmp_path), device="cpu")
    gpu = load_decoder(str(tmp_path), device="cuda")
    last = torch.tensor([19])
    expected = cpu.states(IDS, [0, *cpu.layers], positions=last)
    found = gpu.states(IDS, [0, *cpu.layers], positions=last)
    continued = gpu.states(IDS[:, 10:], [1], prefix=gpu.prefix(IDS[0, :10], 1))[1][:, -1]
    assert "cuda" == gpu.device.type == found[1].device.type
    assert relative(continued.cpu(), expected[1]) <= 1e-5
    for layer, states in expected.items():
        assert relative(found[layer].cpu(), states) <= 1e-5


def test_a_tokenizer_is_loaded(tmp_path: Path) -> None:
    """A folder with a tokenizer gives one that encodes as it did."""
    tokenizer = byte_tokenizer()
    save_checkpoint(tiny_decoder(vocab=256), tmp_path, tokenizer)
    loaded = load_decoder(str(tmp_path)).tokenizer
    assert [104, 105, 195, 164] == tokenizer.encode("hiä") == loaded.encode("hiä")


def test_a_tokenizer_with_more_ids_than_the_embedding_is_kept(tmp_path: Path) -> None:
    """Ids are judged where prompts are encoded: the library adds tokens no text encodes to."""
    save_checkpoint(tiny_decoder(vocab=256), tmp_path, byte_tokenizer(bos=True))
    decoder = load_decoder(str(tmp_path))
    assert (257, 256) == (len(decoder.tokenizer), decoder.vocab_size)


def test_a_broken_tokenizer_is_refused(folder: Path) -> None:
    """The message says that it is the tokenizer."""
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"the tokenizer of .* cannot be loaded"):
        load_decoder(str(folder))


def test_a_missing_tensor_is_refused(folder: Path) -> None:
    """A parameter that would be left at random is named."""
    _rewrite(folder, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))
    with pytest.raises(ModelError, match=r"no weights for model\.layers\.1\.mlp\.up_proj\.weight"):
        load_decoder(str(folder))


def test_a_tensor_of_another_shape_is_refused(folder: Path) -> None:
    """A parameter whose stored shape differs is named."""
    _rewrite(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(3)}))
    with pytest.raises(ModelError, match=r"weights of another shape for model\.norm\.weight"):
        load_decoder(str(folder))


def test_more_blocks_than_the_config_says_are_refused(folder: Path) -> None:
    """A configuration that leaves blocks out would audit another model."""
    _configure(folder, num_hidden_layers=2)
    with pytest.raises(ModelError, match=r"more blocks than its configuration's 2: model\.layers"):
        load_decoder(str(folder))


def test_a_truncated_checkpoint_is_refused(folder: Path) -> None:
    """The file is named."""
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ModelError, match=r"model\.safetensors is no complete safetensors file"):
        load_decoder(str(folder))


@pytest.mark.parametrize("values", [{"hidden_size": "wide"}, {"num_attention_heads": 0}])
def test_a_config_with_impossible_values_is_refused(folder: Path, values: dict[str, Any]) -> None:
    """Whatever the library makes of them, the person reads one paragraph."""
    _configure(folder, **values)
    with pytest.raises(ModelError, match=r"cannot be (read|loaded): "):
        load_decoder(str(folder))


def test_an_attention_kernel_that_the_config_names_is_not_fetched(folder: Path) -> None:
    """The library would download and run it; its own attention is used instead."""
    _configure(folder, attn_implementation="someone/kernel", experts_implementation="some/kernel")
    assert "sdpa" == load_decoder(str(folder)).model.config._attn_implementation


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    """A saved BERT is refused by name, with its weights unread."""
    config = BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, vocab_size=9
    )
    BertForMaskedLM(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"encoder-only model \(bert\)"):
        resolve(str(tmp_path))


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    """A saved T5 is refused by name."""
    config = T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=1, vocab_size=9)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"encoder-decoder model \(t5\)"):
        load_decoder(str(tmp_path))


def test_the_config_alone_needs_no_weights(folder: Path) -> None:
    """The number of layers is known where there is a config.json and nothing else."""
    (folder / "model.safetensors").unlink()
    assert 3 == resolve(str(folder)).n_layers


def test_a_checkpoint_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A resolved checkpoint loads again without its config.json, and each header is read once."""
    read: list[Path] = []
    read_header = weight_files.read_safetensors

    def counted(path: Path) -> StoredFile:
        read.append(path)
        return read_header(path)

    monkeypatch.setattr(weight_files, "read_safetensors", counted)
    folder = save_checkpoint(tiny_decoder("llama", vocab=256), tmp_path, byte_tokenizer())
    checkpoint = resolve(str(folder))
    before = checkpoint.config.to_dict()
    first = load(checkpoint)
    (folder / "config.json").unlink()
    second = load(checkpoint)
    assert first.states(IDS, ["norm"])["norm"].equal(second.states(IDS, ["norm"])["norm"])
    assert [104, 105] == second.tokenizer.encode("hi")
    assert before == checkpoint.config.to_dict()
    assert [folder / "model.safetensors"] == read


@pytest.mark.parametrize(
    "helper",
    [
        "models.loading.find_family",
        "models.loading.refuse_unlike_header",
        "models.loading.refuse_leftovers",
        "models.checkpoint.refuse_unless_decoder",
        "models.weight_files.traces",
        "quantization.loading.stored_info",
        "quantization.loading.packed_layers",
    ],
)
def test_a_bug_of_this_package_is_not_the_checkpoints_fault(
    helper: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A TypeError of our own code reaches the developer as it is."""
    needs("torchao")

    def broken(*_args: object, **_kwargs: object) -> None:
        raise TypeError("a bug of our own")

    monkeypatch.setattr(f"pytest_injectivity.{helper}", broken)
    with pytest.raises(TypeError, match="a bug of our own"):
        load_decoder(str(folder), device="cpu", quantization="torchao-int8")
