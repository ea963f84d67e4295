"""The error of a block that bits and dtype explain."""

import math

import torch

from pytest_injectivity.reference.errors.block_bounds import explained
from pytest_injectivity.reference.errors.block_error import block_errors
from pytest_injectivity.testing import tiny_decoder


def test_a_block_that_adds_nothing_explains_no_error() -> None:
    """As those that a deeper model is grown by: a child's block that adds anything is red."""
    parent, child = tiny_decoder("llama"), tiny_decoder("llama")
    for one in (parent, child):
        block = one.parts.blocks[0]
        for module in (block.self_attn.o_proj, block.mlp.down_proj):
            module.weight.zero_()
    child.parts.blocks[0].mlp.down_proj.weight[0, 0] = 1.0
    found = {one.site: one for one in block_errors(child, parent, [[1, 2, 3], [4, 5]])}
    assert math.inf == found["layer01"].value
    bound = explained(found["layer01"], 4, dtypes=["float32"], rounds_activations=False)
    assert bound < 1


def test_rounding_a_state_is_an_error_of_the_branch_as_many_times_larger() -> None:
    """In bfloat16 more is explained than in float32, and no more than its unit times the states'."""
    (_, one, *_) = block_errors(tiny_decoder("llama"), tiny_decoder("llama"), [[1, 2, 3], [4, 5]])
    narrow, exact = (
        explained(one, 16, dtypes=[dtype], rounds_activations=False)
        for dtype in ("bfloat16", "float32")
    )
    unit = torch.finfo(torch.bfloat16).eps / 2
    assert exact < narrow < exact + 4 * unit * max(1.0, one.residual)
