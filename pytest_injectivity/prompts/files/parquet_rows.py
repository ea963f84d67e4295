"""The reader of parquet tables."""

from collections.abc import Iterator
from pathlib import Path

from pytest_injectivity.errors import MissingExtra, PromptError
from pytest_injectivity.prompts.fields import FieldRule, Tell
from pytest_injectivity.prompts.place import Place
from pytest_injectivity.prompts.rows import Row

_BATCH = 1024  # rows held at once


def parquet_rows(path: Path, rule: FieldRule, tell: Tell) -> Iterator[Row]:
    """One prompt a row: a text, a list of token ids or a list of messages.

    Raises:
        MissingExtra: pyarrow is not installed.
        PromptError: the file is no readable parquet table.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra(
            f"{path.name}: reading .parquet needs pyarrow:"
            ' pip install "pytest-injectivity[parquet]"'
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            first = next((one.to_pylist()[0] for one in file.iter_batches(1) if len(one)), None)
            chosen = rule.choose(first or dict.fromkeys(names), Place(path.name, "row", 0), tell)
            wanted = [name for name in names if name in chosen.columns]
            index = 0
            for batch in file.iter_batches(_BATCH, columns=wanted):
                for record in batch.to_pylist():
                    place = Place(path.name, "row", index)
                    yield Row(chosen.content(record, place), place)
                    index += 1
    except pa.ArrowException as error:
        raise PromptError(f"{path.name} is not a readable parquet file: {error}") from None
