"""What numbers depend on beside their input: code, libraries, machine."""

from pathlib import Path

import pytest
import torch

from pytest_injectivity.store.provenance import code, libraries, machine


def test_code_is_that_of_the_files(tmp_path: Path) -> None:
    """A changed line of a room is other code for that room and for the whole, not for others."""
    for name in ("models/a.py", "states/b.py", "c.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")

    def codes() -> list[str]:
        read = code.__wrapped__
        return [read(*rooms, package=tmp_path) for rooms in ((), ("models",), ("c.py",))]

    before = codes()
    assert before == codes()
    (tmp_path / "models/a.py").write_text("x = 2\n")
    assert [True, True, False] == [now != was for now, was in zip(codes(), before, strict=True)]


def test_code_is_that_of_the_package() -> None:
    """Where no other folder is named; it says the package's version."""
    assert code() != code("models")
    assert code().partition("+")[0] == code("models").partition("+")[0]


def test_libraries_have_their_versions() -> None:
    """Those that compute."""
    assert f"torch {torch.__version__}" in libraries()


def test_builds_of_one_version_of_torch_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel for CUDA multiplies with other libraries; its package has the plain version."""
    monkeypatch.setattr(torch, "__version__", "2.13.0+cu130")
    assert "torch 2.13.0+cu130" in libraries()


def test_the_machine_is_its_settings_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes a product round otherwise is another machine; the threads are not."""
    cpu = torch.device("cpu")
    before = machine(cpu)
    torch.set_num_threads(torch.get_num_threads())
    assert before == machine(cpu)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "NO AVX")
    assert before != machine(cpu)
    monkeypatch.undo()
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", not torch.backends.mkldnn.enabled)
    assert before != machine(cpu)
    monkeypatch.undo()
    monkeypatch.setenv("MKL_NUM_THREADS", "7")
    assert before == machine(cpu)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    assert before != machine(cpu)
