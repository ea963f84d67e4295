"""What attackers read of secret matrices, by how many prompts they know: a table of docs/privacy.md.

    ./dev bench privacy_known MODEL_FOLDERS... [--prompts 50 --tokens 6]

The states before the last layer, rotated or with their coordinates permuted by one secret matrix. What
the model guesses without any state is given with it: an attacker that is not run reads no more.
"""

import argparse
import time
from pathlib import Path

from side_by_side import CONSOLE, table

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.results.releases import ReleaseSummary

RELEASES = (
    "rotate(seed=1)",
    "permute_coordinates(seed=1)",
    "gaussian(sigma=0.5 rel)|rotate(seed=1)",
    "gaussian(sigma=1 rel)|rotate(seed=1)",
)
ATTACKERS = ("procrustes", "linear inverter", "known plaintext")
KNOWN = (0, 1, 4, 16, 64, 256, 1024)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=6)
    given = parser.parse_args()
    for model in given.models:
        started = time.perf_counter()
        audit = Audit(AuditConfig(model=str(model), no_cache=True, max_prompts=10**5))
        texts = [f"{release}@{audit.n_layers - 1}" for release in RELEASES]
        size = {"prompts": given.prompts, "tokens": given.tokens, "free_running": 0, "practice": 0}
        found = {
            known: [one.summary(0.95) for one in audit.exposures(texts, known=known, **size)]
            for known in KNOWN
        }
        rows = [
            (release, attacker, *(_read(found[known][at], attacker) for known in KNOWN))
            for at, release in enumerate(RELEASES)
            for attacker in ATTACKERS
        ]
        title = f"{model.name}, {given.prompts} prompts of {given.tokens} tokens: read, %"
        table(title, ("release", "attacker", *(f"{known} known" for known in KNOWN)), rows)
        guessed = found[0][0].guessed
        CONSOLE.print(f"guessed without any state: {guessed}")
        CONSOLE.print(f"{time.perf_counter() - started:.0f} s, loading included")


def _read(found: ReleaseSummary, attacker: str) -> str:
    rates = {one.attacker: one.tokens for one in found.attacks if one.teacher_forced}
    return f"{100 * rates[attacker].value:.0f}" if attacker in rates else "not run"


if __name__ == "__main__":
    main()
