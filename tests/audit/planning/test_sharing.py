"""Who shares the work of an audit."""

import pytest
import torch

from pytest_injectivity.audit.planning.sharing import sharing

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
ROWS = 20_000


def test_one_process_alone_is_not_said() -> None:
    """Nor one GPU, nor several whose searches are too small to share."""
    alone = [(CPU,), (GPU,), (GPU, GPU)]
    assert [""] * 3 == [sharing(None, devices, rows=ROWS, width=500) for devices in alone]
    assert not sharing(1, (CPU,), rows=ROWS, width=500)


@pytest.mark.parametrize(("workers", "who"), [(2, "by 2 workers"), ("ray://host:1", "by workers;")])
def test_workers_share_the_models_passes(workers: int | str, who: str) -> None:
    """Small searches are each process's own."""
    said = sharing(workers, (CPU,), rows=1000, width=500)
    assert said.startswith("hidden states, inversions and attacks are shared ")
    assert who in said
    assert said.endswith("the times are of one alone")
    assert "searches" not in said


def test_workers_share_large_searches_on_processors() -> None:
    """From 10^11 multiplications on; on a GPU none."""
    large, less = (sharing(2, (CPU,), rows=rows, width=500) for rows in (ROWS, ROWS - 1))
    assert "searches among 20,000 rows as well, if 2 workers have more threads" in large
    assert "searches" not in less
    assert "searches" not in sharing(2, (GPU,), rows=100 * ROWS, width=500)


def test_gpus_share_large_searches() -> None:
    """A thousand times larger ones."""
    said = sharing(None, (GPU, GPU), rows=32 * ROWS, width=500)
    assert "searches among 640,000 rows are shared by 2 GPUs; the times are of one alone" == said
