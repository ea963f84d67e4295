"""What each tool is asked for, and what is to be proved of what it makes."""

from dataclasses import dataclass

Bound = float | dict[str, float]

# The gate of example_suites/quantization_gate: sound weights of 4 bits pass it.
GATE: Bound = 0.35
THREE_BITS: Bound = 0.6
# Sound weights of 2 bits drift by 0.6 to 0.7 at the first layer and by 0.9 to 1 at the last.
TWO_BITS: Bound = {":2": 0.85, "2:": 1.1, "norm": 1.1}


@dataclass(frozen=True)
class Scheme:
    """One way in which a tool quantizes.

    Attributes:
        tool: its name in ``scripts/tools``.
        name: what its script is given.
        bits: of a weight, on average.
        rounds: activations are rounded as the model runs.
        drift: what its states may drift from the parent's, damaged ones more.
        apart: how far a matrix may be from the tool's own, relative; 0: no bit differs.
    """

    tool: str
    name: str
    bits: float
    rounds: bool = False
    drift: Bound = GATE
    apart: float = 0.0

    @property
    def id(self) -> str:
        """What a test is called."""
        return f"{self.tool}-{self.name}"


SCHEMES = (
    Scheme("llmcompressor", "NVFP4", 4, rounds=True),
    Scheme("llmcompressor", "NVFP4A16", 4),
    Scheme("llmcompressor", "MXFP4", 4, rounds=True, drift=0.45),
    Scheme("llmcompressor", "MXFP4A16", 4),
    Scheme("llmcompressor", "MXFP8", 8, rounds=True),
    Scheme("llmcompressor", "W4A16", 4),
    Scheme("llmcompressor", "W4A16_ASYM", 4),
    Scheme("llmcompressor", "W8A8", 8, rounds=True),
    Scheme("llmcompressor", "FP8_DYNAMIC", 8, rounds=True),
    Scheme("llmcompressor", "MIXED", 7, rounds=True),
    Scheme("modelopt", "NVFP4_DEFAULT_CFG", 4),
    Scheme("modelopt", "W4A16_NVFP4_CFG", 4),
    # ModelOpt rounds the scale to the type of the weights before it multiplies; here that is done after.
    Scheme("modelopt", "FP8_DEFAULT_CFG", 8, apart=5e-3),
    Scheme("modelopt", "INT4_AWQ_CFG", 4),
    Scheme("modelopt", "MXFP8_DEFAULT_CFG", 8),
    Scheme("autoround", "auto_round:W4A16", 4),
    Scheme("autoround", "auto_round:W4A16:sym=0", 4),
    Scheme("autoround", "auto_round:W3A16", 3, drift=THREE_BITS),
    Scheme("autoround", "auto_round:W2A16:group_size=64", 2, drift=TWO_BITS),
    Scheme("autoround", "auto_gptq:W4A16:sym=0", 4),
    Scheme("autoround", "auto_awq:W4A16:sym=0", 4),
    Scheme("autoround", "llm_compressor:NVFP4", 4, rounds=True),
    Scheme("autoround", "llm_compressor:MXFP4", 4, rounds=True, drift=0.45),
    Scheme("hqq", "transformers:4:64:1", 4),
    Scheme("hqq", "transformers:4:64:0", 4),
    Scheme("hqq", "transformers:3:64:1", 3, drift=THREE_BITS),
    Scheme("hqq", "transformers:2:64:1", 2, drift=TWO_BITS),
    Scheme("quark", "int4_wo_64", 4),
    Scheme("quark", "uint4_wo_64", 4),
    Scheme("quark", "fp8", 8),
    Scheme("quark", "mxfp4", 4),
    # Its plain layers round the scales to the type of the model as they are loaded.
    Scheme("gptqmodel", "gptq:4:64", 4, apart=5e-3),
    Scheme("gptqmodel", "gptq:4:64:asym:order", 4, apart=5e-3),
)
"""All of them; what a tool did not make on a CPU is told in ``docs/quantized-checkpoints.md``."""
