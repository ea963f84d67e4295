"""What attackers read of more than the states of one layer: tables of docs/privacy.md.

    ./dev bench privacy_leaks MODEL_FOLDERS... [--prompts 50 --tokens 6]

Two layers of one prompt, with noise of their own or the same, beside each layer alone; the cache of all
blocks beside that of one; attention weights of the first block and of the last but one.
"""

import time
from collections.abc import Sequence

from side_by_side import CONSOLE, attacked, attacked_title, table

from pytest_injectivity import Audit, AuditConfig

SIGMAS = (1.0, 2.0, 8.0, 100.0)
OF_TWO = ("argmin", "difference", "mahalanobis", "prior")
OF_CACHES = ("ball", "argmin", "collision", "mahalanobis", "prior")
OF_ATTENTION = ("argmin", "mahalanobis", "prior")
ON_ATTENTION = ("identity", "round(bits=4)", "round(bits=2)", "gaussian(sigma=1 rel)")


def main() -> None:
    """Measure and print."""
    given = attacked(__doc__).parse_args()
    for model in given.models:
        started = time.perf_counter()
        audit = Audit(AuditConfig(model=str(model), no_cache=True, max_prompts=4 * given.prompts))
        size = {"prompts": given.prompts, "tokens": given.tokens}
        about = f"{attacked_title(model, given)}: read, %"
        _two_layers(audit, about, **size)
        _caches(audit, about, **size)
        _attention(audit, about, **size)
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


def _caches(audit: Audit, about: str, **size: int) -> None:
    """Noise on the cache of all blocks, and on that of one."""
    asked = [
        f"gaussian(sigma={sigma:g} rel)@{place}"
        for sigma in (1.0, 4.0)
        for place in (f"{audit.n_layers - 1} kv", "-1 cache")
    ]
    _table(audit, about, asked, OF_CACHES, **size)


def _attention(audit: Audit, about: str, **size: int) -> None:
    """Attention weights, of which those of the first position are 1."""
    asked = [f"{step}@{at} attention" for step in ON_ATTENTION for at in (1, audit.n_layers - 1)]
    _table(audit, about, asked, OF_ATTENTION, **size)


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
