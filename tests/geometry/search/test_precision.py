"""Full rows are multiplied in full precision, whatever the user has set."""

import threading

import pytest
import torch

from pytest_injectivity.geometry.search.precision import precision_of
from tests.adversaries import draw_rows


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_products_of_full_rows_run_in_full_precision_whatever_is_set(precision: str) -> None:
    """A bfloat16 product would break the proved bound; the user's setting is put back."""
    before = torch.get_float32_matmul_precision()
    rows = draw_rows("gaussian", 256, 512)
    exact = (rows.double() @ rows.double().T).float()
    try:
        torch.set_float32_matmul_precision(precision)
        with precision_of(torch.float32):
            inside = rows @ rows.T
        assert precision == torch.get_float32_matmul_precision()
    finally:
        torch.set_float32_matmul_precision(before)
    torch.testing.assert_close(inside, exact, rtol=1e-4, atol=1e-3)


def test_the_newer_setting_is_put_back_too() -> None:
    """Where only one backend's precision was set, torch's older getter raises."""
    backend = torch.backends.mkldnn.matmul
    before = backend.fp32_precision
    rows = draw_rows("gaussian", 256, 512)
    exact = (rows.double() @ rows.double().T).float()
    try:
        backend.fp32_precision = "bf16"
        with precision_of(torch.float32):
            inside = rows @ rows.T
        assert backend.fp32_precision == "bf16"
    finally:
        backend.fp32_precision = before
    torch.testing.assert_close(inside, exact, rtol=1e-4, atol=1e-3)


def test_fast_products_of_bfloat16_values_lose_nothing() -> None:
    """Numbers without digits to lose: the sums are float32's."""
    rows = draw_rows("gaussian", 300, 512).bfloat16().float()
    with precision_of(torch.bfloat16):
        inside = rows @ rows.T
    torch.testing.assert_close(inside, (rows.double() @ rows.double().T).float(), rtol=0, atol=1e-3)


def test_threads_wait_for_each_other() -> None:
    """The settings are those of the process: two threads would leave each other's."""
    entered = threading.Event()

    def enter() -> None:
        with precision_of(torch.float32):
            entered.set()

    other = threading.Thread(target=enter)
    with precision_of(torch.bfloat16):
        other.start()
        assert not entered.wait(0.05)
    other.join()
    assert entered.is_set()
