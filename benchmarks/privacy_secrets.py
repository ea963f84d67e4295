"""What attackers read of states times secret matrices: tables of docs/privacy.md.

    ./dev bench privacy_secrets MODEL_FOLDERS... [--prompts 50 --tokens 6]

The states before the last layer, times one matrix for all prompts, by how many prompts are known, and
times a fresh matrix for each prompt, with as many known as there are at most. What the model guesses
without any state is given with them: an attacker that is not run reads no more.
"""

import time
from collections.abc import Sequence

from side_by_side import CONSOLE, attacked, attacked_title, table

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.results.releases import ReleaseSummary

SHARED = (
    "rotate(seed=1)",
    "permute_coordinates(seed=1)",
    "gaussian(sigma=0.5 rel)|rotate(seed=1)",
    "gaussian(sigma=1 rel)|rotate(seed=1)",
)
FRESH = (
    "mix(over=coordinates, matrix=orthogonal)",
    "mix(over=coordinates, matrix=orthogonal)|gaussian(sigma=0.25 rel)",
    "mix(over=coordinates)",
    "mix(over=positions, matrix=orthogonal)",
    "mix(over=positions)",
    "mix(over=positions)|gaussian(sigma=0.25 rel)",
)
ATTACKERS = ("procrustes", "linear inverter", "known plaintext")
AGAINST_FRESH = ("known plaintext", "linear inverter", "gram", "span")
KNOWN = (0, 1, 4, 16, 64, 256, 1024)


def main() -> None:
    """Measure and print."""
    given = attacked(__doc__).parse_args()
    for model in given.models:
        started = time.perf_counter()
        audit = Audit(AuditConfig(model=str(model), no_cache=True, max_prompts=10**5))
        title = f"{attacked_title(model, given)}: read, %"
        size = {"prompts": given.prompts, "tokens": given.tokens}
        by_known = {known: _exposed(audit, SHARED, known, **size) for known in KNOWN}
        rows = [
            (release, attacker, *(_read(by_known[known][at], attacker) for known in KNOWN))
            for at, release in enumerate(SHARED)
            for attacker in ATTACKERS
        ]
        table(title, ("release", "attacker", *(f"{known} known" for known in KNOWN)), rows)
        fresh = _exposed(audit, FRESH, KNOWN[-1], **size)
        read = [(one.release, *(_read(one, name) for name in AGAINST_FRESH)) for one in fresh]
        table(f"{title}, {KNOWN[-1]} known", ("release", *AGAINST_FRESH), read)
        guessed = by_known[0][0].guessed
        CONSOLE.print(f"guessed without any state: {guessed}")
        CONSOLE.print(f"{time.perf_counter() - started:.0f} s, loading included")


def _exposed(
    audit: Audit, releases: Sequence[str], known: int, **size: int
) -> list[ReleaseSummary]:
    texts = [f"{release}@{audit.n_layers - 1}" for release in releases]
    found = audit.exposures(texts, known=known, free_running=0, practice=0, **size)
    return [one.summary(0.95) for one in found]


def _read(found: ReleaseSummary, attacker: str) -> str:
    rates = {one.attacker: one.tokens for one in found.attacks if one.teacher_forced}
    return f"{100 * rates[attacker].value:.0f}" if attacker in rates else "not run"


if __name__ == "__main__":
    main()
