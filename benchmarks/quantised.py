"""What quantising does to a model: the table of docs/quantised-checkpoints.md.

    ./dev bench quantised builtin:gpt2-stdlib MODEL...

Each full-precision model is audited as it is and quantised while loading, on 200 prompts of
``builtin:stdlib``; margins and co-Lipschitz constants are 1 % quantiles over the full-precision
model's, from the least to the largest layer.
"""

import sys

from side_by_side import table

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.summary import LayerSummary

KINDS = ("bnb-nf4", "bnb-fp4", "bnb-int8", "torchao-int8", "torchao-int4", "torchao-float8")


def audited(model: str, kind: str | None) -> tuple[list[LayerSummary], str]:
    """The layers of a model, and how many prompts SipIt recovers at layer 2."""
    audit = Audit(AuditConfig(model=model, max_prompts=200, quantization=kind, no_cache=True))
    verdict = audit.check_sipit_recovers(2, prompts=5, tokens=10)
    return [audit.layer_summary(layer) for layer in audit.layers], verdict.reasons[0].headline


def kept(layers: list[LayerSummary], before: list[LayerSummary], name: str) -> str:
    """The smallest and the largest share of a number that is left."""
    shares = [
        getattr(now, name) / getattr(then, name) for now, then in zip(layers, before, strict=True)
    ]
    return f"{min(shares):.2f} to {max(shares):.2f}"


def main() -> None:
    """Measure and print."""
    rows = []
    for model in sys.argv[1:] or ["builtin:gpt2-stdlib"]:
        before, _ = audited(model, None)
        for kind in (None, *KINDS):
            layers, recovered = audited(model, kind)
            noise = max(layer.noise / layer.mean_norm for layer in layers)
            rows.append(
                (
                    f"{model} {kind or 'full precision'}",
                    kept(layers, before, "margin_q"),
                    kept(layers, before, "colipschitz_q"),
                    f"{noise:.1e}",
                    recovered,
                )
            )
    table("quantised", ("model", "margin kept", "co-Lipschitz kept", "noise / norm", "SipIt"), rows)


if __name__ == "__main__":
    main()
