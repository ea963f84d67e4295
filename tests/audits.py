"""Audits of small decoders, by way of the files a user would have."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pytest_injectivity import Audit, AuditConfig
from pytest_injectivity.audit.measurements.resolutions import Resolutions
from pytest_injectivity.core.progress import UNCOUNTED, Advance
from pytest_injectivity.models.decoder import Decoder
from pytest_injectivity.testing import save_checkpoint
from tests.resolutions import TINY

Ids = Sequence[Sequence[int]]


def audit_of(folder: Path, decoder: Decoder, ids: Ids, **config: Any) -> Audit:
    """The audit of a decoder on prompts given as token ids.

    Args:
        folder: where checkpoint and prompts are written.
        decoder: what is audited.
        ids: the prompts.
        config: further values of the config, and of ``Audit`` those it has.
    """
    save_checkpoint(decoder, folder / "model")
    rows = [json.dumps({"ids": list(map(int, prompt))}) for prompt in ids]
    (folder / "prompts.jsonl").write_text("\n".join(rows))
    names = ("watcher", "workers", "executor", "key")
    own = {name: config.pop(name) for name in names if name in config}
    paths = {"model": str(folder / "model"), "prompts": str(folder / "prompts.jsonl")}
    return Audit(AuditConfig(**{**paths, "device": "cpu", **config}), **own)


def audit_against(
    folder: Path, decoder: Decoder, parent: Decoder, ids: Ids, **config: Any
) -> Audit:
    """The audit of a decoder that is held against another one.

    Args:
        folder: where both checkpoints and the prompts are written.
        decoder: what is audited.
        parent: what it is held against.
        ids: the prompts.
        config: as in `audit_of`.
    """
    save_checkpoint(parent, folder / "parent")
    return audit_of(folder, decoder, ids, **{"reference": str(folder / "parent"), **config})


def small_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolutions on two prompts and a few tokens: on more they take longer than all else."""
    monkeypatch.setitem(Resolutions.__init__.__kwdefaults__, "size", TINY)


class Witness:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.works: list[tuple[str, int, list[int]]] = []

    def announce(self, sentence: str) -> None:
        """A sentence."""
        self.sentences.append(sentence)

    def foretell(self, sentence: str) -> None:
        """A sentence on long work."""
        self.sentences.append(sentence)

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Advance]:
        """A piece of work; remembered where its steps are counted."""
        steps: list[int] = []
        if total != UNCOUNTED:
            self.works.append((label, total, steps))
        yield steps.append
