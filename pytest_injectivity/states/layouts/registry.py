"""The registry of layouts: one row each."""

from pytest_injectivity.states.layouts.base import Layout
from pytest_injectivity.states.layouts.npz import NPZ
from pytest_injectivity.states.layouts.own import OWN
from pytest_injectivity.states.layouts.parquet import PARQUET
from pytest_injectivity.states.layouts.sglang import SGLANG
from pytest_injectivity.states.layouts.speculators import SPECULATORS
from pytest_injectivity.states.layouts.vllm import VLLM

LAYOUTS: tuple[Layout, ...] = (VLLM, SPECULATORS, SGLANG, NPZ, PARQUET, OWN)
"""A safetensors file is of the first layout whose tensors it has."""
