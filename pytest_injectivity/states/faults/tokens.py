"""States of other tokens than the ids say: padding, a BOS too many, another order, other places."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from pytest_injectivity.core.layers import Layer, depth
from pytest_injectivity.core.text import number_of
from pytest_injectivity.states.faults.base import Case, Fault, Kind, named, relative

_OFFSETS = 8
_READ = 32  # positions, each of which costs a pass over the prompt's own tokens


def without_frame(case: Case) -> Iterator[Fault]:
    """The prompt lacks the tokens that the model's tokenizer puts before every text."""
    frame = case.claims.frame
    if frame and case.ids[: len(frame)] != frame:
        words = "BOS missing: token_ids begin without it"
        yield Fault(
            Kind.BOS,
            None,
            words,
            f"the model's tokenizer puts {number_of(len(frame), 'token')} before every text and these"
            " token_ids begin without: the engine was given other prompts than the model is for"
            " (--injx-special-tokens=no says that this is meant)",
        )


def bos_left_out(case: Case) -> Iterator[Fault]:
    """The states were computed behind a BOS that the ids leave out."""
    if not case.misfits:
        return
    for start in case.claims.starts:
        own = case.model_states((start, *case.ids), list(case.states))
        if _explains(case, {layer: one[1:] for layer, one in own.items()}):
            words = "BOS missing: the states have seen one"
            yield Fault(
                Kind.BOS,
                None,
                words,
                "the states are those of the same tokens behind a BOS: token_ids lack it",
            )
            return


def left_padding(case: Case) -> Iterator[Fault]:
    """The first rows are padding that the other tokens did not see."""
    if not case.misfits:
        return
    run = 1
    while run < len(case.ids) - 1 and case.ids[run] == case.ids[0]:
        run += 1
    for pad in range(run, 0, -1):
        if len(case.ids) - pad < 2:  # noqa: PLR2004 - of one token nothing is told
            continue
        own = case.model_states(case.ids[pad:], list(case.states))
        if _explains(case, own, start=pad):
            if pad == 1 and case.ids[0] in (*case.claims.starts, *case.claims.frame):
                words = "BOS missing: the states have not seen it"
                yield Fault(Kind.BOS, None, words, f"{words}: they are those of the other tokens")
                return
            words = f"left padding: the first {number_of(pad, 'row')}"
            yield Fault(
                Kind.PADDING,
                None,
                words,
                f"the first {number_of(pad, 'row')} are padding: the others are the states of the other"
                f" {number_of(len(case.ids) - pad, 'token')} alone",
            )
            return


def shifted_positions(case: Case) -> Iterator[Fault]:
    """The tokens stand at places that do not begin at 0, as padding on the left moves them."""
    if not case.misfits or not case.decoder.takes_positions:
        return
    ids = torch.tensor([list(case.ids)], dtype=torch.long)
    context = case.decoder.context
    for shift in range(1, _OFFSETS + 1):
        if context is not None and len(case.ids) + shift > context:
            return
        found = case.decoder.states_at(
            ids, torch.arange(len(case.ids))[None] + shift, list(case.states)
        )
        if _explains(case, {layer: one[0].cpu().double() for layer, one in found.items()}):
            words = f"positions begin at {shift} instead of 0"
            yield Fault(
                Kind.PADDING,
                None,
                words,
                f"{words}: as behind {number_of(shift, 'token')} of padding on the left that moved the"
                " others' positions",
            )
            return


def shuffled_tokens(case: Case) -> Iterator[Fault]:
    """The states are those of the prompt's own tokens in another order."""
    if not case.misfits:
        return
    layer = min((one for one in case.states if one != 0), key=depth, default=None)
    if layer is None:
        return
    tokens = torch.tensor(sorted({*case.ids, *case.claims.starts}))
    read: list[int] = []
    prefix = None
    for row in case.theirs[layer][:_READ]:
        table = case.decoder.candidates(prefix, tokens, [layer])[layer].cpu().double()
        off = relative(row, table)
        best = int(off.argmin())
        if float(off[best]) > case.loosest:
            return
        read.append(int(tokens[best]))
        token = tokens[best : best + 1].to(case.decoder.device)
        prefix = (
            case.decoder.prefix(token, layer)
            if prefix is None
            else case.decoder.extend(prefix, token)
        )
    moved = sum(one != other for one, other in zip(read, case.ids, strict=False))
    if moved:
        words = f"tokens are shuffled: {moved} of {number_of(len(read), 'token')}"
        yield Fault(
            Kind.TOKENS,
            None,
            words,
            f"the states, read at {named(layer)}, are of the same tokens in another order: {moved} of"
            f" the first {len(read)} token_ids stand where another one was",
        )


def _explains(case: Case, own: Mapping[Layer, Tensor], *, start: int = 0) -> bool:
    """Whether other states of the model fit at every claimed layer, from a position on."""
    return all(
        float(relative(theirs[start:], own[layer]).median()) <= case.bounds[layer]
        for layer, theirs in case.theirs.items()
    )
