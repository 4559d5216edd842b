"""Reading rows by column name from CSV, TSV, JSON, Parquet and the Hub."""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import neuron_antagonism as na
from neuron_antagonism_plugins._cells import Row
from neuron_antagonism_plugins._files import LONGEST, at, lines, listed, malformed
from neuron_antagonism_plugins._hub import is_hub, splits

FORMATS = ("csv", "tsv", "jsonl", "json", "parquet")
DELIMITERS = {"csv": ",", "tsv": "\t"}
SEPARATED = "a CSV or TSV file, by its ending or the field format"

_ARRAY = 2**30  # bytes of a line, at most, where a file may be one JSON array
_AT_A_TIME = 256  # rows of a Parquet file
_TABLE = "a table with a line of column names (or the task file's field header), then rows of as many cells"
_OBJECTS = "a JSON object on each line, or a file that is one JSON array of objects"


def is_separated(source: str, form: str | None) -> bool:
    """Whether a source is a CSV or TSV file, by the format given or what its ending says."""
    return not is_hub(source) and _form(source, form) in DELIMITERS


def rows(
    source: str,
    form: str | None,
    accepted: str,
    split: str | None = None,
    *,
    header: Sequence[str] = (),
    delimiter: str | None = None,
) -> Iterator[Row]:
    """Yield the rows of a source in its order.

    Args:
        source: a file, or `hub:dataset-id`.
        form: one of `FORMATS`; None = what the file's ending says.
        accepted: the columns that are read, for errors.
        split: the Hub split that is the test part; None = test, validation or dev.
        header: the column names of a CSV or TSV file; () = its first line holds them.
        delimiter: what separates the cells of a CSV or TSV file; None = a comma or a tab.

    Raises:
        DataError: an unreadable, malformed or empty source, or one that takes no header or delimiter; names file
            and line or row.
        UsageError: a package is missing that the source needs.
    """
    if (header or delimiter) and not is_separated(source, form):
        named = "header" if header else "delimiter"
        raise na.DataError(f"{source}: can't be read with the task file's field {named}; accepted: {SEPARATED}")
    if is_hub(source):
        loaded = splits(source, accepted, test=(split,)) if split else splits(source, accepted)
        for found in loaded:
            yield from (Row(found.part, where, values) for where, values in found.rows())
        return
    form = _form(source, form)
    if form not in FORMATS:
        endings = ", ".join(f".{known}" for known in FORMATS)
        raise na.DataError(
            f"{source}: an unknown ending; accepted: {endings}, hub:dataset-id, or the field format in the task file"
        )
    if form in DELIMITERS:
        table = _separated(source, header, delimiter or DELIMITERS[form])
    else:
        table = _parquet(source) if form == "parquet" else _json(source, form)
    empty = True
    for where, values in table:
        empty = False
        yield Row("", where, values)
    if empty:
        raise na.DataError(f"{source}: holds no rows; accepted: {accepted}")


def _form(source: str, form: str | None) -> str:
    return form or Path(source).suffix.lower().removeprefix(".")


def _separated(path: str, header: Sequence[str], delimiter: str) -> Iterator[tuple[str, dict[str, Any]]]:
    # line ends put back: a quoted cell may hold some
    reader = csv.reader((f"{line}\n" for _, line in lines(path, _TABLE)), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise na.DataError(f"{at(path, number)}: {error}; accepted: {_TABLE}") from None
        if not any(one.strip() for one in cells):
            continue
        if not header:
            header = [one.strip() for one in cells]
            twice = sorted({name for name in header if header.count(name) > 1})
            if twice:
                raise na.DataError(f"{at(path, number)}: two columns are named {twice[0]!r}; accepted: different names")
        elif len(cells) != len(header):
            raise malformed(at(path, number), cells, f"{len(header)} cells, one for each column: {listed(header)}")
        else:
            yield at(path, number), dict(zip(header, cells, strict=True))


def _json(path: str, form: str) -> Iterator[tuple[str, dict[str, Any]]]:
    numbered = list(lines(path, _OBJECTS, longest=_ARRAY if form == "json" else LONGEST))
    whole = "\n".join(line for _, line in numbered)
    if form == "json" and whole.lstrip().startswith("["):
        try:
            array = json.loads(whole)
        except json.JSONDecodeError as error:
            raise na.DataError(f"{at(path, error.lineno)}: {error.msg}; accepted: {_OBJECTS}") from None
        except (ValueError, RecursionError) as error:  # nested too deeply, or a number of thousands of digits
            raise na.DataError(f"{path}: {str(error).splitlines()[0]}; accepted: {_OBJECTS}") from None
        found = [(f"{path}, row {number}", value) for number, value in enumerate(array)]
    else:
        found = [(at(path, number), _object(at(path, number), line)) for number, line in numbered if line.strip()]
    for where, value in found:
        if not isinstance(value, dict):
            raise malformed(where, value, _OBJECTS)
        yield where, value


def _object(where: str, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        raise malformed(where, line, _OBJECTS) from None


def _parquet(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise na.UsageError(
            f"{path}: needs the package pyarrow, which is not installed; install neuron-antagonism[data]"
        ) from None
    name = Path(path).expanduser()
    if not name.is_file():
        raise na.DataError(f"{path}: no such file; accepted: a Parquet file, or hub:dataset-id")
    number = 0
    try:
        with parquet.ParquetFile(name) as file:
            groups = [file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups)]
            if max(groups, default=0) > _ARRAY:
                raise na.DataError(
                    f"{path}: a row group of it unfolds to {max(groups)} bytes; accepted: at most {_ARRAY}"
                )
            # few at a time: equal texts, which take hardly any room in the file, are unfolded too
            for batch in file.iter_batches(batch_size=_AT_A_TIME):
                for row in range(len(batch)):
                    # row by row: bytes that are no text are an error of theirs
                    (values,) = batch.slice(row, 1).to_pylist()
                    yield f"{path}, row {number}", values
                    number += 1
    except UnicodeDecodeError as error:
        bad = error.object[error.start : error.start + 1]
        raise malformed(f"{path}, row {number}", bad, "a Parquet file whose texts are UTF-8") from None
    except na.DataError:
        raise
    except Exception as error:  # pyarrow raises many kinds, from the file system's to its own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise na.DataError(f"{path}: can't be read: {reason}; accepted: a Parquet file") from error
