"""What attackers read of several releases of one prompt: a table of docs/privacy.md.

    ./dev bench privacy_queries MODEL_FOLDERS... [--prompts 50 --tokens 6]

Noise with k queries, averaged, beside noise over the square root of k with one.
"""

import time

from side_by_side import CONSOLE, attacked, attacked_title, table

from pytest_injectivity import Audit, AuditConfig

LOUDEST = 8.0
QUERIES = (1, 2, 4, 16, 64)


def main() -> None:
    """Measure and print."""
    given = attacked(__doc__).parse_args()
    for model in given.models:
        started = time.perf_counter()
        audit = Audit(AuditConfig(model=str(model), no_cache=True, max_prompts=4 * given.prompts))
        size = {"prompts": given.prompts, "tokens": given.tokens}
        rows = [
            (
                str(queries),
                _read(audit, LOUDEST, queries, **size),
                f"{LOUDEST / queries**0.5:.3g} rel",
                _read(audit, LOUDEST / queries**0.5, 1, **size),
            )
            for queries in QUERIES
        ]
        title = f"{attacked_title(model, given)}: read, %"
        columns = ("queries", f"{LOUDEST:g} rel, averaged", "sigma of one query", "one query")
        table(title, columns, rows)
        CONSOLE.print(f"{time.perf_counter() - started:.0f} s, loading included")


def _read(audit: Audit, sigma: float, queries: int, **size: int) -> str:
    """What the attacker of one release reads, or of several the one that averages them."""
    text = f"gaussian(sigma={sigma} rel)@{audit.n_layers - 1}"
    (found,) = audit.exposures(text, queries=queries, free_running=0, practice=0, **size)
    rates = {one.attacker: one.tokens for one in found.summary(0.95).attacks}
    rate = rates["mahalanobis" if queries == 1 else "averaging"]
    return f"{100 * rate.value:.0f} [{100 * rate.low:.0f}, {100 * rate.high:.0f}]"


if __name__ == "__main__":
    main()
