"""What is read of states sent across a cut, by depth and wire dtype: a table of docs/privacy.md.

    ./dev bench privacy_cuts MODEL_FOLDERS... [--prompts 10 --tokens 8 --layers 1 8 15 30]
        [--wires "cast(bf16)"] [--dtype float32] [--free-running 10]

Each cell: read by the published verifier at a fixed tolerance / by the strongest attacker here. With
``--free-running`` a second table has what the strongest reads of so many prompts behind its own answers.
"""

import time
from collections.abc import Iterator, Sequence

from side_by_side import CONSOLE, attacked, attacked_title, four_cuts, table

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.audit.releases.cuts import WIRES
from pytest_injectivity.reports.cut_table import cut_table
from pytest_injectivity.results.releases import ReleaseSummary


def main() -> None:
    """Measure and print."""
    parser = attacked(__doc__, prompts=10, tokens=8)
    parser.add_argument("--layers", type=int, nargs="*", help="the cuts (default: four of them)")
    parser.add_argument("--wires", nargs="*", default=WIRES)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--free-running", type=int, default=0)
    given = parser.parse_args()
    for model in given.models:
        started = time.perf_counter()
        config = AuditConfig(
            model=str(model), dtype=given.dtype, no_cache=True, max_prompts=4 * given.prompts
        )
        audit = Audit(config)
        cuts = given.layers or four_cuts(audit.n_layers)
        size = {"prompts": given.prompts, "tokens": given.tokens}
        audit.check_cut_not_read(
            cuts, 0.5, wires=given.wires, free_running=given.free_running, **size
        )
        releases = [one.summary(0.95) for one in audit.releases.exposed]
        found = cut_table(releases)
        if found is None:
            CONSOLE.print("one cut has no depth: give two --layers or more")
            continue
        of = f"{attacked_title(model, given)}: % read"
        rows = [tuple(cell.text for cell in row) for row in found.rows]
        table(of, [column.title for column in found.columns], rows)
        if given.free_running:
            table(f"{of}, free-running", ("wire, cut", "read", "by"), _on_their_own(releases))
        CONSOLE.print(f"{time.perf_counter() - started:.0f} s, loading included")


def _on_their_own(releases: Sequence[ReleaseSummary]) -> Iterator[tuple[str, ...]]:
    for one in releases:
        own = [attack for attack in one.attacks if not attack.teacher_forced]
        best = max(own, key=lambda attack: attack.tokens.value)
        yield one.name, f"{100 * best.tokens.value:.3g}", best.attacker


if __name__ == "__main__":
    main()
