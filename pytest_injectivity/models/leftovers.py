"""Proves that nothing of a checkpoint is left over (SPEC section 8).

Every tensor of the files is taken by a parameter or buffer of the model as built, or is harmless
(`harmless`). Everything else is refused by name. The library drops tensors that it does not know, and
hides some of them from its own report; both kinds are looked at here.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pytest_injectivity.errors import ModelError
from pytest_injectivity.models.families import count_blocks
from pytest_injectivity.models.harmless import POSITIONS, ROTARY, why_harmful
from pytest_injectivity.quantization.formats.registry import is_codes, packed
from pytest_injectivity.quantization.stored_tensors import StoredTensor

_BLOCK = re.compile(r"(?:[A-Za-z_]+\.){0,4}(?:layers|h|blocks|block)\.(\d+)\.")
_SHOWN = 3

Read = Callable[[str], Tensor]


@dataclass(frozen=True)
class Loaded:
    """What the library says of a model that it loaded.

    Attributes:
        source: what the user named.
        model: as it was built and filled.
        n_layers: the blocks that its configuration names.
        missing: parameters that no tensor filled.
        mismatched: parameters whose tensor has another shape.
        unexpected: tensors that no parameter took.
        tied: parameters that the configuration makes copies of others, by name.
    """

    source: str
    model: Any
    n_layers: int
    missing: Iterable[str]
    mismatched: Iterable[str]
    unexpected: Iterable[str]
    tied: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, source: str, model: Any, described: Any, info: Mapping[str, Any]) -> "Loaded":
        """What the library reports of a model that it loaded.

        Args:
            source: what the user named.
            model: as it was built and filled.
            described: the model of the configuration, without memory for its weights.
            info: the library's report.
        """
        return cls(
            source,
            model,
            count_blocks(model.config),
            missing=info["missing_keys"],
            mismatched=[key for key, *_ in info["mismatched_keys"]],
            unexpected=info["unexpected_keys"],
            tied=dict(described.all_tied_weights_keys),
        )


def refuse_leftovers(loaded: Loaded, names: Iterable[str], read: Read) -> None:
    """Refuses a model that is not what its files hold.

    Args:
        loaded: what the library did.
        names: the tensors of the files.
        read: gives a tensor of the files by its name.

    Raises:
        ModelError: a parameter comes from no tensor, or a tensor goes to no parameter, or two copies of
            one tied matrix differ; the message names them.
    """
    stored = tuple(names)
    source = loaded.source
    missing = {*loaded.missing, *_hidden_missing(loaded.model, stored)}
    refuse(source, "no weights for", missing)
    refuse(source, "weights of another shape for", loaded.mismatched)
    left = {*loaded.unexpected, *_hidden(loaded.model, stored)}
    judged = {name: _judge(name, loaded, read) for name in sorted(left)}
    deeper = [name for name in judged if _is_deeper(name, loaded)]
    blocks = f"weights for more blocks than its configuration's {loaded.n_layers}:"
    refuse(source, blocks, (name for name in deeper if judged[name]))
    refuse(
        source,
        "tensors that no parameter of the model takes:",
        (name for name, why in judged.items() if why),
        next((why for why in judged.values() if why), ""),
    )
    _refuse_different_copies(loaded, stored, read)


def refuse_codes(loaded: Loaded, tensors: Mapping[str, StoredTensor]) -> None:
    """Refuses matrices of codes that the library took for numbers.

    A checkpoint may say that it is quantized and leave layers out; such a layer's matrix is plain.

    Args:
        loaded: what the library did.
        tensors: of the files, by name.

    Raises:
        ModelError: a matrix of integers, or of float8 without scales, fills a plain parameter.
    """
    parameters = dict(loaded.model.named_parameters())
    codes = [
        name
        for name, tensor in tensors.items()
        if name in parameters
        and is_codes(name, tensor)
        and packed(loaded.model.get_submodule(name.rpartition(".")[0])) is None
    ]
    refuse(loaded.source, "codes of a quantization where the model has numbers:", codes)


def refuse(source: str, what: str, names: Iterable[str], why: str = "") -> None:
    """Refuses a checkpoint for the sake of some tensors; does nothing where there are none.

    Args:
        source: what the user named.
        what: what the checkpoint has, in words that end before the names.
        names: of tensors or parameters.
        why: one more sentence, on the first of them.

    Raises:
        ModelError: there is a name.
    """
    if listed := sorted(names):
        shown = ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")
        more = f" {why};" if why else ""
        raise ModelError(
            f"{source} has {what} {shown} ({len(listed)} in all):{more} a checkpoint whose tensors are"
            " those of its configuration's parameters is accepted"
        )


def _judge(name: str, loaded: Loaded, read: Read) -> str:
    """Why a tensor that nothing took is no harmless one; empty where it is harmless."""
    # Blocks for multi-token prediction stand behind the others, under a pattern of the library's own.
    if _is_deeper(name, loaded) and _matches(name, _ignored(loaded.model, "unexpected")):
        return ""
    return why_harmful(name, loaded.model, read)


def _is_deeper(name: str, loaded: Loaded) -> bool:
    block = _BLOCK.match(name)
    return block is not None and int(block[1]) >= loaded.n_layers


def _hidden(model: Any, stored: Iterable[str]) -> Iterator[str]:
    """Tensors that nothing takes and that the library leaves out of its report."""
    taken = {name for name, _ in model.named_parameters()} | {
        name for name, _ in model.named_buffers() if not ROTARY.search(name)
    }
    patterns = [*_ignored(model, "unexpected"), ROTARY.pattern, POSITIONS.pattern]
    persistent = _persistent_names(model, taken)
    for name in stored:
        if _matches(name, patterns) and not _is_one_of(name, persistent):
            yield name


def _hidden_missing(model: Any, stored: Iterable[str]) -> Iterator[str]:
    """Parameters that no tensor fills and that the library leaves out of its report."""
    patterns = _ignored(model, "missing")
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    ends = set(stored)
    for name, _ in model.named_parameters():
        if name not in tied and _matches(name, patterns) and not _is_one_of(name, ends):
            yield name


def _persistent_names(model: Any, names: set[str]) -> set[str]:
    """The names among these whose tensors the library saves and reads."""
    lost = {
        f"{path}.{name}".removeprefix(".")
        for path, module in model.named_modules()
        for name in module._non_persistent_buffers_set  # noqa: SLF001 - torch has no public name for it
    }
    return names - lost


def _ignored(model: Any, kind: str) -> list[str]:
    return list(getattr(model, f"_keys_to_ignore_on_load_{kind}", None) or ())


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(re.search(pattern, name) for pattern in patterns)


def _is_one_of(name: str, names: set[str]) -> bool:
    """Whether a name is one of these, but for the prefix of the base model."""
    if name in names:
        return True
    return any(one.endswith(f".{name}") or name.endswith(f".{one}") for one in names)


def _refuse_different_copies(loaded: Loaded, stored: Iterable[str], read: Read) -> None:
    held = set(stored)
    # The library unties what differs, without a word.
    for copy, original in loaded.tied.items():
        if copy in held and original in held:
            one, other = read(copy), read(original)
            if one.dtype != other.dtype or not one.equal(other):
                raise ModelError(
                    f"{loaded.source} ties {copy} to {original}, and its files hold two different"
                    " matrices under these names: equal ones, or one of them, are accepted"
                )
