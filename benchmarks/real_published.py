"""SipIt as published on a real model, stopped after a while, beside SipIt's lens on the same states."""

import time
from collections.abc import Sequence
from pathlib import Path

from published_sipit import OutOfTimeError, published
from real_tables import markdown, minutes, told
from sipit_samples import Sample

from pytest_injectivity.inversion.sipit import recover_all
from pytest_injectivity.models.loading import load_decoder
from pytest_injectivity.prompts.loading import load_prompts

PROMPTS = 5
TOKENS = 10
# Prompts that a resolution is measured on.
_SAMPLED = 100


def publications(model: Path, source: str, dtype: str, layers: Sequence[int], limit: float) -> str:
    """Both on the same prompts at each layer, as a table.

    Args:
        model: the checkpoint.
        source: of the prompts.
        dtype: the dtype computed in.
        layers: the layers inverted.
        limit: seconds of processor time after which the published algorithm is stopped, a layer.
    """
    decoder = load_decoder(str(model), dtype=dtype, device="cpu")
    found = load_prompts(
        source,
        decoder.tokenizer,
        overlong="drop",
        max_prompts=_SAMPLED,
        context=decoder.context,
        vocab_size=decoder.vocab_size,
    )
    prompts = [ids[:TOKENS] for ids in found.ids if len(ids) >= TOKENS]
    rows = []
    for layer in layers:
        sample = Sample.of(decoder, layer, prompts).first(PROMPTS)
        start = time.process_time()
        inversion = recover_all(
            decoder, sample.states, layer, eps=sample.eps, scales=sample.scales, certify=0
        )
        ours = time.process_time() - start
        exact = sum(
            one.exact(ids) for one, ids in zip(inversion.recoveries, sample.prompts, strict=True)
        )
        told(f"layer {layer}: lens {exact} of {PROMPTS} in {ours:.1f} s")
        start = time.process_time()
        try:
            theirs_exact, tested = published(sample, limit)
            done, more = f"{theirs_exact} of {PROMPTS}", ""
            candidates = f"{tested:.0f}"
        except OutOfTimeError as stopped:
            done, more = (
                f"stopped in prompt {stopped.prompts + 1}, token {stopped.tokens + 1}",
                "> ",
            )
            candidates = f"{stopped.tested}"
        theirs = time.process_time() - start
        rows.append(
            (
                f"{dtype}, {layer}",
                f"{exact} of {PROMPTS}",
                minutes(ours),
                done,
                candidates,
                minutes(theirs),
                f"{more}{theirs / ours:.0f}x",
            )
        )
    return markdown(
        f"{model.name}: {PROMPTS} prompts of {TOKENS} tokens, lens against the published SipIt, stopped"
        f" after {limit / 60:g} minutes",
        (
            "dtype, layer",
            "lens: exact",
            "processor time, everything included",
            "published: exact",
            "its candidates a token",
            "its processor time",
            "ratio",
        ),
        rows,
    )
