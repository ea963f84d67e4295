"""What is read of states sent across a cut, by depth and wire dtype: a table of docs/privacy.md.

    ./dev bench privacy_cuts MODEL_FOLDERS... [--prompts 10 --tokens 8 --layers 1 8 15 30]
        [--wires "cast(bf16)"] [--dtype float32]

Each cell: read by the published verifier at a fixed tolerance / by the strongest attacker here.
"""

import time

from side_by_side import CONSOLE, attacked, attacked_title, four_cuts, table

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.audit.releases.cuts import WIRES
from pytest_injectivity.reports.cut_table import cut_table


def main() -> None:
    """Measure and print."""
    parser = attacked(__doc__, prompts=10, tokens=8)
    parser.add_argument("--layers", type=int, nargs="*", help="the cuts (default: four of them)")
    parser.add_argument("--wires", nargs="*", default=WIRES)
    parser.add_argument("--dtype", default="auto")
    given = parser.parse_args()
    for model in given.models:
        started = time.perf_counter()
        config = AuditConfig(
            model=str(model), dtype=given.dtype, no_cache=True, max_prompts=4 * given.prompts
        )
        audit = Audit(config)
        cuts = given.layers or four_cuts(audit.n_layers)
        size = {"prompts": given.prompts, "tokens": given.tokens, "free_running": 0}
        audit.check_cut_not_read(cuts, 0.5, wires=given.wires, **size)
        found = cut_table([one.summary(0.95) for one in audit.releases.exposed])
        if found is None:
            CONSOLE.print("one cut has no depth: give two --layers or more")
            continue
        of = f"{attacked_title(model, given)}: % read"
        rows = [tuple(cell.text for cell in row) for row in found.rows]
        table(of, [column.title for column in found.columns], rows)
        CONSOLE.print(f"{time.perf_counter() - started:.0f} s, loading included")


if __name__ == "__main__":
    main()
