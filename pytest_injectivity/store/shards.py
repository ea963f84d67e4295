"""Shards: the records of which rows of a prompt set are on the disk."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pytest_injectivity.core.shapes import UInt8


@dataclass(frozen=True)
class Shard:
    """A shard's record.

    Attributes:
        prompts: indexes, ascending.
        sums: of each layer's rows of these prompts, in this order, by layer id.
        writer: the process that captured it.
    """

    prompts: tuple[int, ...]
    sums: Mapping[str, str]
    writer: str

    def to_json(self) -> bytes:
        """The record's content."""
        plain = {"prompts": self.prompts, "sums": dict(self.sums), "writer": self.writer}
        return json.dumps(plain).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Shard":
        """The shard of a record's content."""
        plain = json.loads(content)
        return cls(tuple(plain["prompts"]), plain["sums"], plain["writer"])


@dataclass(frozen=True)
class ShardLimits:
    """When a shard is closed: what a kill costs, against how often the disk is waited for.

    Attributes:
        size: it holds so many bytes.
        seconds: it was begun so many seconds ago.
    """

    size: int = 2**25
    seconds: float = 5.0


SHARD_LIMITS = ShardLimits()


def checksum(content: UInt8[np.ndarray, "some bytes"]) -> str:
    """The BLAKE2b (hex, 16 bytes) of some rows."""
    return hashlib.blake2b(np.ascontiguousarray(content).data, digest_size=16).hexdigest()
