"""Split inference: the device runs the first blocks, the server the rest. What can the server read?

Every release at every cut, in one walk over the prompts. README.md says what the attackers know.
"""

import pytest
from conftest import CURVE, MAX_TOKEN_RATE, MIN_AGREEMENT

# Four strengths of each, from hardly anything to hardly anything left.
SWEPT = {
    "gaussian(sigma=? rel)": (0.25, 1, 2, 8),
    "lowrank(rank=4, sigma=? rel)": (0.5, 1, 2, 8),
    "round(bits=?)": (2, 3, 4, 8),
    "topk(share=?)": (0.02, 0.05, 0.1, 0.5),
}
# Nothing of these is a matter of strength.
PLAIN = ("identity", "rotate(seed=1)", "permute", "cast(fp8)")


@pytest.fixture(scope="session")
def measured(injx, cuts):
    """All releases at all cuts: by text."""
    texts = [f"{release}@{cut}" for cut in cuts for release in PLAIN]
    for release, strengths in SWEPT.items():
        texts += [f"{release.replace('?', str(one))}@{cut}" for cut in cuts for one in strengths]
    found = injx.exposures(texts, **CURVE)
    return {text: one.summary(0.95) for text, one in zip(texts, found, strict=True)}


@pytest.fixture(scope="session")
def curves(injx, measured, cuts, write):
    """What is read and what is left, by strength and cut: a JSON file and a picture a release."""
    assert measured  # in one walk, before each curve asks for its own points
    found = {
        release: [
            injx.sweep(
                f"{release}@{cut}",
                strengths,
                max_token_rate=MAX_TOKEN_RATE,
                min_agreement=MIN_AGREEMENT,
                **CURVE,
            )
            for cut in cuts
        ]
        for release, strengths in SWEPT.items()
    }
    for release, drawn in found.items():
        write(release.partition("(")[0], drawn)
    return found


def test_the_attackers_work(measured, cuts):
    """They read everything that is sent as it is; otherwise nothing below would mean anything."""
    for cut in cuts:
        read = measured[f"identity@{cut}"].strongest.tokens
        assert read.right == read.of


def test_what_is_sent_as_it_is_is_of_full_use(measured, cuts):
    """The pass that goes on from the states at the cut is the pass."""
    for cut in cuts:
        assert measured[f"identity@{cut}"].agreement.value == 1.0


def test_what_the_receiver_undoes_costs_nothing(measured, cuts):
    """Rotation and permutation are of full use. What they hide stands in the table."""
    for cut in cuts:
        for release in ("rotate(seed=1)", "permute"):
            assert measured[f"{release}@{cut}"].agreement.value > 0.99


def test_every_strength_has_its_point(curves):
    """With a rate and a use; whether any strength has both, the end of the run says."""
    for release, strengths in SWEPT.items():
        for curve in curves[release]:
            assert [point.strength for point in curve.points] == [str(one) for one in strengths]
            assert all(point.useful is not None for point in curve.points)


def test_more_noise_leaves_less(curves):
    """Of everything: less is read, and less is of use."""
    for curve in curves["gaussian(sigma=? rel)"]:
        first, last = curve.points[0].release, curve.points[-1].release
        assert last.strongest.tokens.value < first.strongest.tokens.value
        assert last.agreement.value < first.agreement.value
        assert last.divergence > first.divergence
