"""Audits of quantized checkpoints, as they are published and as they are made while loading."""

import json
from pathlib import Path

import pytest

from pytest_injectivity import Audit, AuditConfig
from tests.integration.conftest import Run
from tests.integration.support import output, said
from tests.quantized import KINDS, needs, parent, saved_parent, write
from tests.repetitions import mostly_slow

GATE = "def test_gate(injx):\n    injx.assert_no_collisions('all')\n"


def _prompts(folder: Path) -> Path:
    path = folder / "prompts.jsonl"
    rows = [{"ids": [7 * at % 256, 3 * at % 256, at, 5]} for at in range(40)]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_audited(kind: str, tmp_path: Path) -> None:
    """Saved, loaded, measured, inverted; a second audit reads the store and says the same."""
    needs(kind)
    path = write(kind, saved_parent(tmp_path / "full"), tmp_path / "quantized")
    config = AuditConfig(model=str(path), prompts=str(_prompts(tmp_path)), device="cpu")
    first, second = Audit(config), Audit(config)
    for audit in (first, second):
        audit.assert_no_collisions("all")
        inverted = audit.check_sipit_recovers(1, tokens=4, prompts=5)
        # One that rounds activations as it runs is read and not verified: its resolution is too coarse.
        assert inverted.passed or kind == "bnb-int8"
        assert "20 of 20 tokens right" in str(inverted)
    run = first.run_summary()
    assert run.quantized is not None
    assert 1.0 == run.quantized.share
    assert "quantized to" in run.assumptions
    assert "from the store" == second.run_summary().numbers
    assert not second.target.loaded
    for layer in first.layers:
        assert first.layer_summary(layer) == second.layer_summary(layer)


@pytest.mark.parametrize("kind", mostly_slow(["bnb-nf4", "torchao-int4"], "bnb-nf4"))
def test_the_terminal_and_the_report_say_what_is_quantized(
    kind: str, audited: Run, tmp_path: Path
) -> None:
    """One line of the summary, the same in JSON, and the flag in the header."""
    needs(kind)
    folder = saved_parent(tmp_path / "full")
    report = tmp_path / "report.json"
    result = audited(
        GATE,
        f"--injx-model={folder}",
        f"--injx-prompts={_prompts(tmp_path)}",
        f"--injx-quantization={kind}",
        f"--injx-report=json:{report}",
    )
    assert 0 == result.ret, output(result)
    assert f"quantized {kind}: 4-bit values in all of the blocks' weights (14 Linear" in said(
        result
    )
    (line,) = [line for line in result.outlines if line.startswith("injectivity: --")]
    assert f"--injx-quantization={kind}" in line
    run = json.loads(report.read_text())["run"]
    assert (kind, 4.0, 1.0) == tuple(run["quantized"][name] for name in ("kind", "bits", "share"))


def test_quantized_and_plain_numbers_have_keys_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One checkpoint, quantized while loading or not, is two models to the store."""
    needs("torchao")
    folder = saved_parent(tmp_path / "full")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    given = {"model": str(folder), "prompts": str(_prompts(tmp_path)), "device": "cpu"}
    plain = Audit(AuditConfig(**given))
    quantized = Audit(AuditConfig(**given, quantization="torchao-int4"))
    assert plain.layer_summary("norm").margin != quantized.layer_summary("norm").margin
    assert plain.run_summary().quantized is None
    assert "computed" == quantized.run_summary().numbers


def test_a_files_key_is_its_own(tmp_path: Path) -> None:
    """What lies beside a .gguf file is not the checkpoint; what is in it is."""
    needs("gguf")
    path = write("gguf-Q4_0", saved_parent(tmp_path / "full"), tmp_path / "files")
    given = {"model": str(path), "prompts": str(_prompts(tmp_path)), "device": "cpu"}
    first = Audit(AuditConfig(**given)).layer_summary("norm")
    path.with_name("other.gguf").write_bytes(b"GGUF")
    again = Audit(AuditConfig(**given))
    assert first == again.layer_summary("norm")
    assert not again.target.loaded
    write("gguf-Q8_0", tmp_path / "full", tmp_path / "others").replace(path)
    changed = Audit(AuditConfig(**given))
    assert first != changed.layer_summary("norm")
    assert changed.run_summary().quantized.kind == "gguf Q8_0"  # type: ignore[union-attr]


def test_rounded_activations_leave_float64_out_and_say_so(tmp_path: Path) -> None:
    """No noise against another function, and no diagnosis by it; the neighbors are announced."""
    needs("bnb")
    folder = saved_parent(tmp_path / "full")
    announced: list[str] = []

    class Listener:
        def announce(self, message: str) -> None:
            announced.append(message)

        def foretell(self, message: str) -> None:
            announced.append(message)

        def progress(self, _what: str, _total: int) -> object:
            from contextlib import nullcontext

            return nullcontext(lambda _done: None)

    audit = Audit(
        AuditConfig(
            model=str(folder),
            prompts=str(_prompts(tmp_path)),
            device="cpu",
            quantization="bnb-int8",
        ),
        watcher=Listener(),  # type: ignore[arg-type]
    )
    floor = audit.resolution(1).later
    text = " ".join(announced)
    assert floor.error != floor.error
    assert floor.distance >= 0
    assert "depend on the prompts beside it" in text
    assert "rounds activations as it runs: the error of the states is not measured" in text


def test_a_collision_of_rounded_activations_is_not_diagnosed(tmp_path: Path) -> None:
    """The verdict says why nothing is known of its cause."""
    needs("bnb")
    decoder = parent()
    decoder.model.get_input_embeddings().weight[9] = decoder.model.get_input_embeddings().weight[8]
    from pytest_injectivity.testing import save_checkpoint

    folder = save_checkpoint(decoder, tmp_path / "full")
    rows = [{"ids": [at, 5, 5, 5]} for at in range(20)]
    (tmp_path / "some.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    given = {"model": str(folder), "prompts": str(tmp_path / "some.jsonl"), "device": "cpu"}
    rounded = Audit(AuditConfig(**given, quantization="bnb-int8")).check_no_collisions(1)
    assert "not diagnosed: a float64 copy of" in str(rounded)
    assert "bnb-int8 rounds activations as it runs" in str(rounded)
    packed = Audit(AuditConfig(**given, quantization="bnb-nf4")).check_no_collisions(1)
    assert "1 of 1 pair diagnosed" in str(packed)
