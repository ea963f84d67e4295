"""What attackers read of more than the states of one layer: tables of docs/privacy.md.

    ./dev bench privacy_leaks MODEL_FOLDERS... [--prompts 50 --tokens 6]

Two layers of one prompt, with noise of their own or the same, beside each layer alone.
"""

import time
from collections.abc import Sequence

from side_by_side import CONSOLE, attacked, table

from pytest_injectivity import Audit, AuditConfig

SIGMAS = (1.0, 2.0, 8.0, 100.0)
OF_TWO = ("argmin", "difference", "mahalanobis", "prior")


def main() -> None:
    """Measure and print."""
    given = attacked(__doc__).parse_args()
    for model in given.models:
        started = time.perf_counter()
        audit = Audit(AuditConfig(model=str(model), no_cache=True, max_prompts=4 * given.prompts))
        size = {"prompts": given.prompts, "tokens": given.tokens}
        about = f"{model.name}, {given.prompts} prompts of {given.tokens} tokens: read, %"
        _two_layers(audit, about, **size)
        CONSOLE.print(f"{time.perf_counter() - started:.0f} s, loading included")


def _two_layers(audit: Audit, about: str, **size: int) -> None:
    """Noise on the states of two layers, and on those of either alone."""
    deeper = audit.n_layers - 1
    both = f"{deeper - 1} and {deeper}"
    asked = [
        f"{step}(sigma={sigma:g} rel)@{place}"
        for sigma in SIGMAS
        for step, place in (
            ("gaussian", str(deeper - 1)),
            ("gaussian", str(deeper)),
            ("gaussian", both),
            ("same_noise", both),
        )
    ]
    _table(audit, about, asked, OF_TWO, **size)


def _table(
    audit: Audit, about: str, asked: Sequence[str], attackers: Sequence[str], **size: int
) -> None:
    found = audit.exposures(asked, free_running=0, practice=0, **size)
    rows = []
    for text, one in zip(asked, found, strict=True):
        rates = {attack.attacker: attack.token_rate for attack in one.attacks}
        rows.append(
            (text, *(f"{100 * rates[name]:.0f}" if name in rates else "" for name in attackers))
        )
    table(about, ("release", *attackers), rows)


if __name__ == "__main__":
    main()
