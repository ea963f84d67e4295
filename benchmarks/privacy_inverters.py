"""What attackers read that learned from examples: tables of docs/privacy.md.

    ./dev bench privacy_inverters MODEL_FOLDERS... [--prompts 50 --tokens 6 --cut 3 --practice 500]

The first table has a planted release: noise in four loud directions misleads the nearest neighbors, and
trained inverters read it. The second has releases that are not linear, and plain noise.
"""

import time
from collections.abc import Sequence

from side_by_side import CONSOLE, attacked, table

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.results.releases import ReleaseSummary

PLANTED = ("lowrank(rank=4, sigma=8 rel)",)
OTHERS = ("topk(share=0.02)", "round(bits=2)", "gaussian(sigma=1 rel)")
NEAREST = ("embedding", "argmin")
TRAINED = ("linear inverter", "network inverter")


def main() -> None:
    """Measure and print."""
    parser = attacked(__doc__)
    parser.add_argument("--cut", type=int, default=3)
    parser.add_argument("--practice", type=int, default=500)
    given = parser.parse_args()
    size = {"prompts": given.prompts, "tokens": given.tokens, "practice": given.practice}
    for model in given.models:
        started = time.perf_counter()
        audit = Audit(AuditConfig(model=str(model), no_cache=True, max_prompts=2000))
        of = f"{model.name}, {given.prompts} prompts of {given.tokens} tokens, cut {given.cut}: read, %"
        for releases, names in ((PLANTED, (*NEAREST, *TRAINED)), (OTHERS, TRAINED)):
            texts = [f"{one}@{given.cut}" for one in releases]
            found = audit.exposures(texts, free_running=0, **size)
            table(of, ("release", *names), [_row(one.summary(0.95), names) for one in found])
        CONSOLE.print(f"{time.perf_counter() - started:.0f} s, loading included")


def _row(found: ReleaseSummary, names: Sequence[str]) -> tuple[str, ...]:
    rates = {one.attacker: one.tokens.value for one in found.attacks if one.teacher_forced}
    return (found.release, *(f"{100 * rates[name]:.0f}" for name in names))


if __name__ == "__main__":
    main()
