import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_injectivity import Audit, AuditConfig
from tests.integration.conftest import Run
from tests.integration.support import output, said, table_rows

GATE = "def test_gate(injx):\n    injx.assert_no_collisions('all')\n"


def test_the_header_says_what_is_audited(audited: Run) -> None:
    """One line before the tests, with the flags that differ from their defaults."""
    result = audited(GATE, "--injx-length=8", "--injx-seed=0", "--injx-overlong=drop")
    (line,) = [line for line in result.outlines if line.startswith("injectivity: ")]
    assert "--injx-model=" in line
    assert "--injx-prompts=" in line
    assert line.endswith(" --injx-length=8 --injx-overlong=drop")


def test_no_header_where_nobody_asked(pytester: pytest.Pytester) -> None:
    """A suite that has nothing to do with this plugin is not told about it."""
    pytester.makepyfile("def test_unit():\n    pass\n")
    text = output(pytester.runpytest_inprocess())
    assert "injectivity" not in re.sub(r"injectivity-[\d.]+", "", text)


def test_the_summary_describes_the_run(audited: Run) -> None:
    """Model, size, dtype, device, prompts with N and hash, special tokens, what is assumed."""
    result = audited(
        """
        def test_gate(injx):
            injx.assert_no_collisions("all")
            print("HASH", injx.prompts.hash[:12])
        """,
        "-s",
    )
    text = said(result)
    (digest,) = re.findall(r"HASH (\w{12})", text)
    assert "gpt2, 2 layers, d 16, vocabulary 256, float32 on cpu" in text
    assert f"[{digest}], 15 to 20 tokens, without special tokens; dropped: none" in text
    assert "assumed gelu_new (analytic), width 16, norm eps 1e-05, embedding rows tied" in text
    assert "1 of 1 verdict PASS" in text


def test_the_table_shows_the_audits_own_numbers(
    audited: Run,
    checkpoint: Callable[[str], Path],
    prompt_file: Callable[[list[str]], Path],
    texts: list[str],
) -> None:
    """One row a layer, deepest last, with the numbers of an Audit made without pytest."""
    rows = table_rows(audited(GATE))
    audit = Audit(AuditConfig(model=str(checkpoint("generic")), prompts=str(prompt_file(texts))))
    assert ["layer01", "layer02", "norm"] == list(rows)
    for layer, cells in rows.items():
        expected = audit.layer_summary("norm" if layer == "norm" else int(layer[5:]))
        shown = [float(cell.rstrip("◄")) for cell in cells]
        numbers = [
            *(expected.mean_norm, expected.collisions, expected.resolution, expected.margin),
            *(expected.margin_q, expected.normalized_margin_q),
            *(expected.colipschitz_q, expected.normalized_colipschitz_q),
        ]
        assert pytest.approx(numbers, rel=6e-3) == shown


def test_the_worst_layer_is_marked(audited: Run) -> None:
    """The smallest normalized margin and co-Lipschitz value have a mark, and no other has."""
    rows = table_rows(audited(GATE, model="deep"))
    marked = {
        (layer, column)
        for layer, cells in rows.items()
        for column, cell in enumerate(cells)
        if "◄" in cell
    }
    for column in (5, 7):
        values = {layer: float(cells[column].rstrip("◄")) for layer, cells in rows.items()}
        worst = min(values, key=values.__getitem__)
        assert (worst, column) in marked
    assert {5, 7} == {column for _, column in marked}


def test_the_layer_with_most_collisions_is_marked(audited: Run) -> None:
    """Collisions that differ by layer: the largest count is marked."""
    rows = table_rows(
        audited(
            "def test_gate(injx):\n    injx.check_no_collisions('0,all')\n",
            prompts=["the box", "hat box", "a fox"],
        )
    )
    assert "1◄" == rows["layer00"][1]
    assert ["0", "0", "0"] == [rows[layer][1] for layer in ("layer01", "layer02", "norm")]


def test_no_line_of_the_summary_is_wider_than_the_terminal(audited: Run) -> None:
    """80 columns hold the summary, table and all."""
    result = audited(GATE, model="deep")
    lines = result.outlines
    start = next(at for at, line in enumerate(lines) if " injectivity =" in line)
    assert max(map(len, lines[start:])) <= 80


@pytest.mark.parametrize("columns", ["40", "300"])
def test_odd_terminals_are_served(
    audited: Run, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    """Very narrow and very wide terminals get a summary too."""
    monkeypatch.setenv("COLUMNS", columns)
    result = audited(GATE)
    assert pytest.ExitCode.OK == result.ret
    assert "1 of 1 verdict PASS" in said(result)


def test_colour_is_used_where_the_terminal_has_it(audited: Run) -> None:
    """--color=yes paints the worst layer; without it not one control sequence is written."""
    assert "\x1b[1;31m" in output(audited(GATE, "--color=yes")).partition(" injectivity ")[2]
    assert "\x1b" not in output(audited(GATE))


def test_rounded_activations_have_a_table_of_their_own(audited: Run) -> None:
    """Collisions after rounding are shown by layer and bits, beside what is left of the margins."""
    result = audited("""
        def test_bits(injx):
            for bits in (2, 8):
                injx.check_no_collisions("all", bits=bits)
                injx.check_no_collisions("all")
    """)
    table = output(result).partition("activations rounded")[2]
    assert table.index("8 bits") < table.index("2 bits")
    assert 3 == len(
        re.findall(r"^(?:layer0\d|norm) +\d+ \d+/\d+ +\d+ \d+/\d+", table, re.MULTILINE)
    )


def test_the_summary_says_what_was_not_passed(audited: Run) -> None:
    """The first line of every verdict that is not PASS, and the count of those that are."""
    result = audited("""
        def test_gate(injx):
            injx.check_margin_above("norm", 1e9)
            injx.check_margin_above(1, 1e-12)
    """)
    assert pytest.ExitCode.OK == result.ret
    summary = output(result).partition(" injectivity =")[2]
    assert re.search(r"^FAIL margin_above norm: .*1e\+09$", summary, re.MULTILINE)
    assert "1 of 2 verdicts is not PASS" in summary
