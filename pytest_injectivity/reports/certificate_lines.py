"""What is proved of the layers, what is estimated, and what is not known, as one line each."""

from collections.abc import Callable, Sequence

from pytest_injectivity.results.certificates import Basis, Certificate, Claim
from pytest_injectivity.results.changes import label_depth
from pytest_injectivity.results.summary import LayerSummary

_MOST = 3
_Certified = Sequence[tuple[str, Certificate]]


def certificate_lines(layers: Sequence[LayerSummary]) -> list[str]:
    """Three lines on layers whose states are as computed; none where no layer has a certificate."""
    certified = [
        (one.layer, one.certificate)
        for one in sorted(layers, key=lambda layer: label_depth(layer.layer))
        if one.certificate is not None
    ]
    if not certified:
        return []
    proved = [
        _part("all states differ as captured", certified, lambda one: one.captured.proved),
        _part("states are equal as captured", certified, lambda one: one.captured.refuted),
        _part(
            "states are equal in another batch",
            certified,
            lambda one: one.captured.proved and one.batched.refuted,
        ),
    ]
    estimated = [
        _part("told apart in any batch", certified, lambda one: one.batched.estimated),
        _part("different in exact arithmetic", certified, lambda one: one.exact.estimated),
    ]
    unknown = [
        *_reasons("as captured", certified, lambda one: one.captured),
        *_reasons("in any batch", certified, lambda one: one.batched),
        *_reasons("in exact arithmetic", certified, lambda one: one.exact),
        "prompts that are not of the set",
    ]
    return [
        f"{basis}: {'; '.join(filter(None, parts)) or 'nothing'}"
        for basis, parts in zip(Basis, (proved, estimated, unknown), strict=True)
    ]


def _part(words: str, certified: _Certified, holds: Callable[[Certificate], bool]) -> str:
    """The words, and at which layers they hold; empty where at none."""
    found = [layer for layer, one in certified if holds(one)]
    return f"{words}: {_listed(found, certified)}" if found else ""


def _reasons(words: str, certified: _Certified, claim: Callable[[Certificate], Claim]) -> list[str]:
    """At which layers a claim is not known, by the reason."""
    why: dict[str, list[str]] = {}
    for layer, one in certified:
        if claim(one).basis is Basis.UNKNOWN:
            why.setdefault(claim(one).why, []).append(layer)
    if not why:
        return []
    said = [f"{_listed(some, certified)} ({reason})" for reason, some in why.items()]
    more = f" and {len(said) - _MOST} more" if len(said) > _MOST else ""
    return [f"{words}: {', '.join(said[:_MOST])}{more}"]


def _listed(layers: Sequence[str], certified: _Certified) -> str:
    """Layers that follow each other in the table by the first and the last of them."""
    order = [layer for layer, _ in certified]
    if list(layers) == order and len(order) > 1:
        return f"all {len(order)} layers"
    runs: list[list[str]] = []
    for layer in layers:
        at = order.index(layer)
        if runs and order.index(runs[-1][-1]) == at - 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(one[0] if len(one) == 1 else f"{one[0]} to {one[-1]}" for one in runs)
