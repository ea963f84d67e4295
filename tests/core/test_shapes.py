"""Shapes in annotations: checked in the tests, no burden where jaxtyping is not installed."""

import json
import subprocess
import sys
from pathlib import Path

import jaxtyping
import pytest
import torch

from pytest_injectivity.core import shapes
from pytest_injectivity.geometry.distances import pair_distances, row_norms

WITHOUT_JAXTYPING = """
import json, sys

sys.modules["jaxtyping"] = None  # import jaxtyping raises, as where it is not installed
import torch
from pytest_injectivity.core import shapes
from pytest_injectivity.geometry.distances import row_norms

plain = [name for name in shapes.__all__ if getattr(shapes, name)[torch.Tensor, "n"] is torch.Tensor]
print(json.dumps({"plain": plain, "norms": row_norms(torch.tensor([[3.0, 4.0]])).tolist()}))
"""


def test_a_wrong_shape_is_caught_in_the_tests() -> None:
    """A test run refuses rows that are no table."""
    with pytest.raises(jaxtyping.TypeCheckError, match="rows"):
        row_norms(torch.zeros(3))


def test_a_wrong_element_type_is_caught_in_the_tests() -> None:
    """A test run refuses indices of 32 bits where 64 are named."""
    index = torch.zeros(1, dtype=torch.int32)
    with pytest.raises(jaxtyping.TypeCheckError, match="left"):
        pair_distances(torch.zeros(2, 2), index, index)


def test_the_names_are_those_of_jaxtyping() -> None:
    """Where jaxtyping is installed every name is its own."""
    assert shapes.__all__
    assert [getattr(jaxtyping, name) for name in shapes.__all__] == [
        getattr(shapes, name) for name in shapes.__all__
    ]


def test_the_package_works_without_jaxtyping(tmp_path: Path) -> None:
    """An installation for use has no jaxtyping: annotations are plain types and functions work."""
    done = subprocess.run(  # noqa: S603 - python itself
        [sys.executable, "-c", WITHOUT_JAXTYPING],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"plain": shapes.__all__, "norms": [5.0]} == json.loads(done.stdout)
