"""Where the modules outside a model's blocks stand: before them, after them, or where no token comes.

The embeddings, the final norm and the head are known. Others are found by running a few tokens: a
projection or a norm behind the embeddings, the transform before a head of BERT, a pooler, a tower for
images that the library keeps in the text model.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import nn

from pytest_injectivity.models.decoder import Decoder

Place = Literal["before", "after", "nowhere"]
"""Where a module is run; ``nowhere``: the logits do not depend on it."""

_TOKENS = 2
_FLOATS = {torch.float64, torch.float32, torch.bfloat16, torch.float16}


def places(decoder: Decoder, paths: Sequence[str]) -> dict[str, Place]:
    """Where modules outside the blocks are run, by their paths.

    Args:
        decoder: the model.
        paths: of modules outside its blocks that hold weights.
    """
    model: Any = decoder.model
    modules: dict[str, nn.Module] = {path: model.get_submodule(path) for path in paths}
    usual: dict[int, Place] = {
        id(decoder.parts.embeddings): "before",
        id(decoder.parts.norm): "after",
    }
    if all(id(one) in usual for one in modules.values()):
        return {path: usual[id(one)] for path, one in modules.items()}
    return _tried(decoder, modules)


def roots(paths: Iterable[str], others: Iterable[str]) -> tuple[str, ...]:
    """The shortest paths that hold all of some modules and none of the others.

    Example:
        >>> roots(["vision.conv", "vision.norm.weight", "pooler"], ["embed", "head"])
        ('pooler', 'vision')
    """
    kept = list(others)
    found = set()
    for path in paths:
        names = path.split(".")
        prefixes = (".".join(names[:end]) for end in range(1, len(names) + 1))
        inside = (
            one for one in prefixes if not any(f"{other}.".startswith(f"{one}.") for other in kept)
        )
        found.add(next(inside, path))
    return tuple(sorted(found))


def _tried(decoder: Decoder, modules: dict[str, nn.Module]) -> dict[str, Place]:
    finite, behind, run = _run(decoder, modules)
    block = decoder.parts.blocks[0]
    # What is never called may have numbers that are read; what is called may do nothing for the logits.
    apart = [path for path, one in modules.items() if path not in run or _holds(one, block)]
    groups = [apart, *([path] for path in behind if path not in apart)]
    # Packed numbers cannot be made NaN, and are read by their module alone.
    unread = {path for path in apart if not _numbers(modules[path])} - run
    for group in groups if finite else ():
        plain = [path for path in group if _numbers(modules[path])]
        with _not_finite([one for path in plain for one in _numbers(modules[path])]):
            unread.update(plain if plain and _run(decoder, {})[0] else ())
    return {
        path: "nowhere" if path in unread else "after" if path in behind else "before"
        for path in modules
    }


def _run(decoder: Decoder, modules: dict[str, nn.Module]) -> tuple[bool, set[str], set[str]]:
    """Runs a few tokens.

    Returns:
        Whether the logits are finite; the modules first called behind the blocks; all that were called.
    """
    first: dict[str, bool] = {}
    passed: list[bool] = []

    def noting(path: str) -> Callable[..., None]:
        def note(*_: object) -> None:
            first.setdefault(path, bool(passed))

        return note

    with ExitStack() as stack:
        for path, module in modules.items():
            stack.enter_context(module.register_forward_pre_hook(noting(path)))
        last = decoder.parts.blocks[-1]
        stack.enter_context(last.register_forward_hook(lambda *_: passed.append(True)))
        logits = decoder.next_token_logits(torch.arange(_TOKENS) % decoder.vocab_size)
    return bool(logits.isfinite().all()), {one for one in first if first[one]}, set(first)


def _holds(module: nn.Module, block: nn.Module) -> bool:
    return any(one is block for one in module.modules())


def _numbers(module: nn.Module) -> list[nn.Parameter]:
    """The floating-point parameters that a module holds itself."""
    return [one for one in module.parameters(recurse=False) if one.dtype in _FLOATS]


@contextmanager
def _not_finite(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Makes numbers NaN for a while."""
    kept = [one.data for one in parameters]
    try:
        for one in parameters:
            one.data = torch.full_like(one.data, torch.nan)
        yield
    finally:
        for one, data in zip(parameters, kept, strict=True):
            one.data = data
