"""Writes checkpoints of codes and scales by hand, in every layout that this package decodes itself."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from tests.layouts import (
    GROUP,
    Encode,
    Tensors,
    awq,
    fp8,
    fp8_of_rows,
    gptq,
    hqq,
    int4_of_modelopt,
    int8_of_rows,
    mxfp4,
    mxfp4_of_quark,
    mxfp8,
    nvfp4,
    nvfp4_of_modelopt,
    nvfp4_of_quark,
    of_quark,
)


@dataclass(frozen=True)
class Encoder:
    """How a format's checkpoints are written.

    Attributes:
        encode: a matrix.
        config: the ``quantization_config``.
        kind, bits: that are proved of what was written.
        files: that lie beside the configuration, by name.
        rounded: activations are rounded as the model runs.
        left: activations are left that a server rounds.
    """

    encode: Encode
    config: dict[str, Any]
    kind: str
    bits: int
    files: dict[str, Any] = field(default_factory=dict)
    rounded: bool = False
    left: bool = False

    def write(self, full: Path, folder: Path) -> tuple[Path, Tensors]:
        """Writes a checkpoint.

        Args:
            full: the folder of a Llama in full precision.
            folder: where it is written.

        Returns:
            The folder, and the matrices that its codes stand for, by the parameter's name.
        """
        shutil.copytree(full, folder)
        tensors: Tensors = {}
        dense: Tensors = {}
        for name, tensor in load_file(full / "model.safetensors").items():
            if ".layers." in name and tensor.ndim == 2:
                parts, dense[name] = self.encode(tensor)
                layer = name.removesuffix("weight")
                tensors |= {layer + end: part.contiguous() for end, part in parts.items()}
            else:
                tensors[name] = tensor
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        for name, content in self.files.items():
            (folder / name).write_text(json.dumps(content))
        if self.config:
            path = folder / "config.json"
            config = {**json.loads(path.read_text()), "quantization_config": self.config}
            path.write_text(json.dumps(config))
        return folder, dense


def _compressed(form: str, bits: int, group: int | None, **more: Any) -> dict[str, Any]:
    weights = {"num_bits": bits, "type": "float", "symmetric": True, "dynamic": False, **more}
    scheme = {"targets": ["Linear"], "weights": {**weights, "group_size": group}, "format": form}
    return {
        "quant_method": "compressed-tensors",
        "format": form,
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": {**scheme, "input_activations": None}},
    }


def _quark(name: str, *, activations: Any = None) -> dict[str, Any]:
    return {
        "quant_method": "quark",
        "global_quant_config": {"weight": {"dtype": name}, "input_tensors": activations},
        "layer_quant_config": {},
    }


def _quark_of_two(name: str) -> dict[str, Any]:
    """A scheme whose scales have a type of their own."""
    found = _quark(name)
    found["global_quant_config"]["weight"] = [{"dtype": name}, {"dtype": "fp8_e4m3"}]
    return found


_WORDS = {"bits": 4, "group_size": GROUP}
_ROUND = {"quant_method": "auto-round", **_WORDS}
_MODELOPT = "hf_quant_config.json"

ENCODERS: dict[str, Encoder] = {
    "ct-NVFP4A16": Encoder(
        nvfp4,
        _compressed(
            "nvfp4-pack-quantized",
            4,
            16,
            strategy="tensor_group",
            scale_dtype="torch.float8_e4m3fn",
        ),
        "compressed-tensors NVFP4A16",
        4,
    ),
    "ct-MXFP4A16": Encoder(
        mxfp4,
        _compressed("mxfp4-pack-quantized", 4, 32, strategy="group", scale_dtype="torch.uint8"),
        "compressed-tensors MXFP4A16",
        4,
    ),
    "ct-MXFP8A16": Encoder(
        mxfp8,
        _compressed("mxfp8-quantized", 8, 32, strategy="group", scale_dtype="torch.uint8"),
        "compressed-tensors MXFP8A16",
        8,
    ),
    "modelopt-NVFP4": Encoder(
        nvfp4_of_modelopt,
        {"quant_method": "modelopt", "quant_algo": "NVFP4"},
        "modelopt NVFP4",
        4,
        left=True,
    ),
    "modelopt-NVFP4-file": Encoder(
        nvfp4_of_modelopt,
        {},
        "modelopt NVFP4",
        4,
        files={_MODELOPT: {"quantization": {"quant_algo": "NVFP4"}}},
        left=True,
    ),
    "modelopt-FP8": Encoder(
        fp8,
        {"quant_method": "modelopt", "quant_algo": "FP8"},
        "modelopt FP8",
        8,
        left=True,
    ),
    "modelopt-MXFP8": Encoder(
        mxfp8, {"quant_method": "modelopt", "quant_algo": "MXFP8"}, "modelopt MXFP8", 8, left=True
    ),
    "modelopt-INT4": Encoder(
        int4_of_modelopt,
        {"quant_method": "modelopt", "quant_algo": "W4A16_AWQ"},
        "modelopt INT4",
        4,
    ),
    "fbgemm_fp8": Encoder(
        fp8_of_rows, {"quant_method": "fbgemm_fp8"}, "fbgemm_fp8 E4M3", 8, left=True
    ),
    "gptq-2": Encoder(gptq(2), {"quant_method": "gptq", "bits": 2}, "gptq W2A16", 2),
    "gptq-3": Encoder(gptq(3), {"quant_method": "gptq", "bits": 3}, "gptq W3A16", 3),
    "gptq-8": Encoder(gptq(8), {"quant_method": "gptq", "bits": 8}, "gptq W8A16", 8),
    "gptq-order": Encoder(
        gptq(4, order=True), {"quant_method": "gptq", **_WORDS, "desc_act": True}, "gptq W4A16", 4
    ),
    "gptq-v2": Encoder(
        gptq(4, less=0),
        {"quant_method": "gptq", **_WORDS, "checkpoint_format": "gptq_v2"},
        "gptq W4A16",
        4,
    ),
    "awq": Encoder(awq, {"quant_method": "awq", **_WORDS, "version": "gemm"}, "awq W4A16", 4),
    "auto-round": Encoder(
        gptq(4), {**_ROUND, "packing_format": "auto_round:auto_gptq"}, "auto-round W4A16", 4
    ),
    "auto-round-awq": Encoder(
        awq, {**_ROUND, "packing_format": "auto_round:auto_awq"}, "auto-round W4A16", 4
    ),
    "auto-round-NVFP4": Encoder(
        nvfp4,
        {**_ROUND, "packing_format": "auto_round:llm_compressor", "act_bits": 4},
        "auto-round NVFP4A4",
        4,
        left=True,
    ),
    "hqq-2": Encoder(hqq(2, axis=1), {"quant_method": "hqq"}, "hqq W2A16", 2),
    "hqq-3": Encoder(hqq(3, axis=1), {"quant_method": "hqq"}, "hqq W3A16", 3),
    "hqq-4": Encoder(hqq(4, axis=1), {"quant_method": "hqq"}, "hqq W4A16", 4),
    "hqq-4-columns": Encoder(hqq(4, axis=0), {"quant_method": "hqq"}, "hqq W4A16", 4),
    "hqq-8": Encoder(hqq(8, axis=1), {"quant_method": "hqq"}, "hqq W8A16", 8),
    "quark-int4": Encoder(of_quark(signed=True), _quark("int4"), "quark int4", 4),
    "quark-uint4": Encoder(of_quark(signed=False), _quark("uint4"), "quark uint4", 4),
    "quark-int8": Encoder(int8_of_rows, _quark("int8"), "quark int8", 8),
    "quark-fp8": Encoder(
        fp8,
        _quark("fp8_e4m3", activations={"dtype": "fp8_e4m3"}),
        "quark fp8_e4m3",
        8,
        left=True,
    ),
    "quark-mxfp4": Encoder(mxfp4_of_quark, _quark("fp4"), "quark MXFP4", 4),
    "quark-nvfp4": Encoder(nvfp4_of_quark, _quark_of_two("fp4"), "quark NVFP4", 4),
}
"""Each layout by a name of its own."""
