"""What attackers read of batches whose rows are mixed: a table of docs/privacy.md.

    ./dev bench privacy_batches MODEL_FOLDERS... [--prompts 50 --tokens 6]

The states before the last layer, of batches of 1 to 32 prompts, mixed by a fresh secret matrix with and
without shield vectors. In brackets what is read behind the first token asked for: which prompt of a
batch begins with which token is told by nothing, however well all of them are read.
"""

import time

from side_by_side import CONSOLE, attacked, attacked_title, table

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.results.releases import AttackSummary, ReleaseSummary

BATCHES = (1, 4, 8, 16, 32)
SHIELDS = (0, 8)
MATRICES = ("orthogonal", "invertible")
ATTACKERS = ("components", "span", "scatter")


def main() -> None:
    """Measure and print."""
    parser = attacked(__doc__)
    parser.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    given = parser.parse_args()
    for model in given.models:
        started = time.perf_counter()
        audit = Audit(AuditConfig(model=str(model), no_cache=True, max_prompts=10**5))
        sizes = [(batch, shield) for batch in given.batches for shield in SHIELDS]
        texts = [
            f"mix(matrix={matrix}, batch={batch}, shield={shield})@{audit.n_layers - 1}"
            for batch, shield in sizes
            for matrix in MATRICES
        ]
        found = [
            one.summary(0.95)
            for one in audit.exposures(
                texts, prompts=given.prompts, tokens=given.tokens, free_running=0
            )
        ]
        rows = [
            (
                f"{batch}",
                f"{shield}",
                f"{batch * given.tokens + shield}",
                *(cell for one in found[2 * at : 2 * at + 2] for cell in _read(one)),
            )
            for at, (batch, shield) in enumerate(sizes)
        ]
        columns = [f"{matrix}: {name}" for matrix in MATRICES for name in ATTACKERS]
        title = attacked_title(model, given)
        table(f"{title}: read, %", ("prompts", "shield", "rows", *columns), rows)
        CONSOLE.print(f"guessed without any state: {found[0].guessed}")
        CONSOLE.print(f"{time.perf_counter() - started:.0f} s, loading included")


def _read(found: ReleaseSummary) -> list[str]:
    attacks = {one.attacker: one for one in found.attacks if one.teacher_forced}
    return [_cell(attacks[name]) if name in attacks else "" for name in ATTACKERS]


def _cell(attack: AttackSummary) -> str:
    _, *later = attack.by_position.values()
    right, asked = (
        sum(counts) for counts in zip(*((one.right, one.of) for one in later), strict=True)
    )
    return f"{100 * attack.tokens.value:.0f} ({100 * right / asked:.0f})"


if __name__ == "__main__":
    main()
