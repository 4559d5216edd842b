"""The items of a task file of lm-evaluation-harness: its rows, rendered, with the option that is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import neuron_antagonism as na
from neuron_antagonism_plugins._cells import LeftOut, Row, as_text, distinct, none_left, plain, same, whole
from neuron_antagonism_plugins._files import malformed, readable
from neuron_antagonism_plugins._harness import LOCAL, PROMPT, Harness
from neuron_antagonism_plugins._hub import Split, is_directory, is_hub, loaded_splits, splits
from neuron_antagonism_plugins._listed import are_labels, listed, without_cue
from neuron_antagonism_plugins._rendered import Asked, is_constant, rendered
from neuron_antagonism_plugins._tables import rows

SHOWN = "shown"
"""The part of what is shown answered, which is asked nowhere."""

_COLUMNS = "the columns that its templates name"


def read_items(spec: Harness, path: Path, source: str | None, left_out: Counter[str]) -> list[na.Item]:
    """One item for each row that can be asked, in the source's order; first what is shown answered, where it is stated.

    Args:
        spec: what the file states.
        path: the file.
        source: a file or `hub:dataset-id` with the same columns; None = the data that the file names.
        left_out: rows that can't be asked are counted here, by reason.

    Raises:
        DataError: malformed data, or a template that fails on it; names file and line, or split and row.
        UsageError: a package is missing that the source needs.
    """
    shown = _samples(spec, path)
    every = [*shown, *(_own(spec, path, shown=not shown) if source is None else _given(source))]
    fields = {name: getattr(spec, name) for name in ("doc_to_text", "doc_to_choice", "doc_to_target")}
    found: list[na.Item] = []
    missed: list[tuple[Row, LeftOut]] = []
    for row, asked in zip(every, rendered(path, fields, every), strict=True):
        try:
            if isinstance(asked, LeftOut):
                raise asked
            found.append(_item(spec, row, asked))
        except LeftOut as error:
            missed.append((row, error))
    for part in dict.fromkeys(row.part for row in every):
        if part not in {item.part for item in found}:
            raise none_left([error for row, error in missed if row.part == part])
    left_out.update(error.reason for row, error in missed if row.part != SHOWN)
    return found


def _samples(spec: Harness, path: Path) -> list[Row]:
    stated = spec.fewshot_config.samples if spec.fewshot_config else ()
    return [Row(SHOWN, f"{path}, field fewshot_config.samples[0]", stated[0])] if stated else []


def _own(spec: Harness, path: Path, *, shown: bool) -> Iterator[Row]:
    """The rows of the data that the file names, by part."""
    parts = {"test": spec.evaluated, "train": spec.trained, SHOWN: spec.shown if shown else None}
    wanted = {split: part for part, split in parts.items() if split is not None}
    # a part alone has no name
    if spec.trained is None:
        wanted[spec.evaluated] = ""
    folder = path.expanduser().parent
    if spec.dataset_path in LOCAL:
        assert spec.dataset_kwargs is not None
        read = _files(spec.dataset_kwargs.data_files, spec.dataset_path, folder, wanted)
    else:
        read = _hub_rows(spec, folder, wanted)
    kept = False
    for row in read:
        if row.part != SHOWN:
            yield row
        elif not kept:
            kept = True
            yield row


def _files(files: dict[str, tuple[str, ...]], form: str, folder: Path, wanted: dict[str, str]) -> Iterator[Row]:
    for split, part in wanted.items():
        for name in files[split]:
            try:
                file = str(folder / Path(name).expanduser())
            except RuntimeError:  # `~` of nobody: reading says so
                file = name
            own = "jsonl" if form == "json" and file.lower().endswith(".jsonl") else form
            found = [row._replace(part=part) for row in rows(file, own, _COLUMNS)]
            yield from _typed(found) if form == "csv" else found


def _hub_rows(spec: Harness, folder: Path, wanted: dict[str, str]) -> Iterator[Row]:
    local = folder / spec.dataset_path
    name = str(local) if is_directory(local) else spec.dataset_path
    source = f"hub:{name}:{spec.dataset_name}" if spec.dataset_name else f"hub:{name}"
    loaded = loaded_splits(source)
    for split, part in wanted.items():
        if split not in loaded or not len(loaded[split]):
            there = ", ".join(f"{known} ({len(data)} rows)" for known, data in loaded.items()) or "none"
            raise na.DataError(f"{source}: has the splits {there}; accepted: rows in {split}, as the task file says")
        read = Split(part, f"{source}, split {split!r}", loaded[split]).rows(named=False)
        yield from (Row(part, where, values) for where, values in read)


def _given(source: str) -> Iterator[Row]:
    if is_hub(source):
        every = splits(source, _COLUMNS)
        found = chain.from_iterable((Row(one.part, *row) for row in one.rows(named=False)) for one in every)
        yield from found
        return
    read = list(rows(source, None, _COLUMNS))
    yield from _typed(read) if source.lower().endswith((".csv", ".tsv")) else read


def _typed(found: Sequence[Row]) -> list[Row]:
    """Rows of a CSV file with whole numbers where a column has nothing else, as `datasets` reads them."""
    filled = {name: [one for row in found if (one := row.values[name])] for name in (found[0].values if found else ())}
    numbers = {name for name, cells in filled.items() if cells and all(whole(cell) is not None for cell in cells)}

    def typed(name: str, cell: str) -> int | str | None:
        return whole(cell) if name in numbers and cell else cell or None

    return [row._replace(values={name: typed(name, cell) for name, cell in row.values.items()}) for row in found]


def _item(spec: Harness, row: Row, asked: Asked) -> na.Item:
    prompt = _text(row, "doc_to_text", asked.text)
    if spec.doc_to_text and not prompt.strip():
        raise LeftOut(str(malformed(f"{row.where}, field doc_to_text", prompt, "a text")), "doc_to_text is empty")
    options = [_text(row, "doc_to_choice", choice) for choice in asked.choices]
    place = _place(row, asked.target, options)
    text = without_cue(prompt)
    if are_labels(options):
        apart = listed(prompt, options)
        if apart is not None:
            text, options = apart
            prompt = f"{text}\nAnswer:"
        elif options[0].isalpha() and is_constant(spec.doc_to_choice):
            lines = f"a text with the options on lines of their own, such as {options[0]}. …, or a choice of texts"
            raise malformed(f"{row.where}, field doc_to_choice", options, lines)
    answer = options[place]
    if not answer:
        raise LeftOut(str(malformed(f"{row.where}, field doc_to_choice", options, "texts")), "empty right option")
    wrong = tuple(one for one in distinct(options) if same(one) != same(answer))
    meta = {PROMPT: prompt} if spec.doc_to_text else {}
    return na.Item(text or answer, answer, wrong, meta, row.part)


def _text(row: Row, field: str, value: Any) -> str:
    found = as_text(value) if field == "doc_to_choice" or not isinstance(value, str) else value
    if found is None:
        raise malformed(f"{row.where}, field {field}", value, "a text or number")
    return readable(f"{row.where}, field {field}", found)


def _place(row: Row, stated: Any, options: Sequence[str]) -> int:
    """Which option is right."""
    where = f"{row.where}, field doc_to_target"
    accepted = f"one index 0 to {len(options) - 1}, or the text of an option"
    target = plain(stated)
    if isinstance(target, list) and len(target) == 1:
        target = target[0]
    if isinstance(target, float) and target.is_integer():
        target = int(target)
    if isinstance(target, str):
        if not target.strip():
            raise LeftOut(str(malformed(where, target, accepted)), "doc_to_target is empty")
        found = [place for place, option in enumerate(options) if same(option) == same(target.strip())]
        if not found:
            raise malformed(where, target, f"{accepted}; a template that writes digits means an index")
        return found[0]
    if not isinstance(target, int):
        raise malformed(where, target, accepted)
    if target == -1:
        raise LeftOut(str(malformed(where, target, accepted)), "unlabelled (-1)")
    if not 0 <= target < len(options):
        raise malformed(where, int(target), accepted)
    return int(target)
