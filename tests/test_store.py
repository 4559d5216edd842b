"""Units on disk: what is put is what is found, and nothing else ever is."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neuron_antagonism as na
from neuron_antagonism import files, tensors
from neuron_antagonism.runs import store as stores
from neuron_antagonism.runs.store import Store, checked_cache, store_of
from neuron_antagonism.runs.unit import Payload, Unit


class Recipe:
    """Makes nothing."""

    @classmethod
    def make(cls, desk: Any, units: Sequence[Unit]) -> None:
        raise NotImplementedError


def unit(number: int = 0, label: str = "ner.ace") -> Unit:
    return Unit("scores", label, f"{number:016x}" * 4, Recipe())


UNIT = unit()
PAYLOAD = Payload(
    {"text": "ü\u2028", "none": None, "list": [1, 2.5]},
    {"b": np.arange(6, dtype=np.int64).reshape(2, 3), "a": np.float32([1.5, -0.0]), "number": np.array(2.0)},
)


def same(found: Payload | None, expected: Payload = PAYLOAD) -> bool:
    assert found is not None
    assert found.meta == expected.meta
    assert found.arrays.keys() == expected.arrays.keys()
    return all(
        found.arrays[name].tobytes() == array.tobytes()
        and (found.arrays[name].dtype, found.arrays[name].shape) == (array.dtype, array.shape)
        for name, array in expected.arrays.items()
    )


def tree(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


# --- one directory -------------------------------------------------------------------------------------------------


def test_what_is_put_is_found_by_any_other_store(tmp_path):
    """Arrays of every shape to the bit, and the document; by key, not by label."""
    Store(tmp_path).put(UNIT, PAYLOAD)
    found = Store(tmp_path)
    assert found.has(UNIT)
    assert same(found.get(UNIT))
    assert not found.has(unit(1))
    assert found.get(unit(1)) is None
    assert list(tree(tmp_path)) == [UNIT.file] == [f"scores/ner.ace.{'0' * 20}.safetensors"]


def test_the_same_content_is_the_same_file(tmp_path):
    """Byte for byte, in whatever order and layout the arrays come."""
    turned = {name: np.array(array, order="F") for name, array in reversed(PAYLOAD.arrays.items())}
    Store(tmp_path / "a").put(UNIT, PAYLOAD)
    Store(tmp_path / "b").put(UNIT, Payload(PAYLOAD.meta, turned))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_what_json_lacks_is_refused(tmp_path):
    """A NaN in a document is an error here, not a file that others can't read."""
    with pytest.raises(ValueError, match="JSON"):
        Store(tmp_path).put(UNIT, Payload({"x": float("nan")}))
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    "label", ["../../out", "/etc/x", "..", "", "a/b\\c", "ü" * 200, "漢" * 100, ".hidden", "a b\n"]
)
def test_no_label_leads_out_of_the_directory(label, tmp_path):
    """Whatever a task or a scorer is called: one file in the folder of its kind, which any file system takes."""
    odd = unit(label=label)
    Store(tmp_path / "x").put(odd, PAYLOAD)
    (file,) = (tmp_path / "x" / "scores").iterdir()
    assert tree(tmp_path).keys() == {f"x/scores/{file.name}"}
    assert not file.name.startswith("..")
    assert len(file.name.encode()) < 200
    assert same(Store(tmp_path / "x").get(odd))


# --- damage --------------------------------------------------------------------------------------------------------


def damaged(path: Path, data: bytes) -> None:
    """A store over a damaged file says so, sets it aside, and takes the unit when it comes again."""
    file = path / UNIT.file
    file.write_bytes(data)
    store = Store(path)
    with pytest.warns(na.AntagonismWarning, match=r"can't .*; set aside as .*\.damaged, to be computed again") as told:
        assert store.get(UNIT) is None
    assert "\n" not in str(told[0].message)
    assert not file.exists()
    assert file.with_name(f"{file.name}.damaged").read_bytes() == data
    # it is said once
    assert not store.has(UNIT)
    store.put(UNIT, PAYLOAD)
    assert same(Store(path).get(UNIT))


def test_no_damaged_byte_is_ever_used(tmp_path):
    """Any byte that is another one, any end that is missing, and what never was a unit."""
    Store(tmp_path).put(UNIT, PAYLOAD)
    whole = (tmp_path / UNIT.file).read_bytes()
    # padding of the header, which is white space, means nothing
    padding = {i for i in range(len(whole)) if whole[i : i + 1] == b" "}
    for i in {*range(0, len(whole), 7), 0, 7, 8, len(whole) - 1} - padding:
        damaged(tmp_path, whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        damaged(tmp_path, whole[:i])
    for data in (b"garbage", b"\xff" * 64, whole + b"more"):
        damaged(tmp_path, data)


def test_another_units_file_is_not_taken(tmp_path):
    """Under this unit's name: another key's, another kind's, or an older file without a key."""
    Store(tmp_path).put(UNIT, PAYLOAD)
    other = replace(unit(1), kind="scores")
    Store(tmp_path / "other").put(other, PAYLOAD)
    damaged(tmp_path, (tmp_path / "other" / other.file).read_bytes())
    kind = replace(UNIT, kind="neurons")
    Store(tmp_path / "other").put(kind, PAYLOAD)
    damaged(tmp_path, (tmp_path / "other" / kind.file).read_bytes())
    damaged(tmp_path, tensors.pack(PAYLOAD.arrays, PAYLOAD.meta))
    from safetensors.numpy import save

    damaged(tmp_path, save(dict(PAYLOAD.arrays)))


def test_a_directory_in_its_place_is_set_aside(tmp_path):
    """Whatever stands where the file belongs."""
    (tmp_path / UNIT.file).mkdir(parents=True)
    with pytest.warns(na.AntagonismWarning, match="set aside"):
        assert Store(tmp_path).get(UNIT) is None
    Store(tmp_path).put(UNIT, PAYLOAD)
    assert same(Store(tmp_path).get(UNIT))


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    """The error names the file; the unit is not there, and other units are."""
    store = Store(tmp_path)
    store.put(UNIT, PAYLOAD)
    before = tree(tmp_path)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", full)
        with pytest.raises(OSError, match="No space left") as caught:
            store.put(unit(1), PAYLOAD)
    assert caught.value.filename == str(tmp_path / unit(1).file)
    assert tree(tmp_path) == before
    assert not store.has(unit(1))


# --- a cache -------------------------------------------------------------------------------------------------------


def test_a_cache_is_shared(tmp_path):
    """What one directory's store makes, another's finds: the same file, which stays when the cache goes."""
    first, second = (Store(tmp_path / name, tmp_path / "cache") for name in ("a", "b"))
    first.put(UNIT, PAYLOAD)
    assert same(second.get(UNIT))
    places = [tmp_path / name / UNIT.file for name in ("a", "b", "cache")]
    assert len({place.stat().st_ino for place in places}) == 1
    shutil.rmtree(tmp_path / "cache")
    assert same(Store(tmp_path / "b").get(UNIT))


def test_what_is_in_the_directory_already_is_not_replaced(tmp_path):
    """A unit that is there is taken from there."""
    Store(tmp_path / "a").put(UNIT, PAYLOAD)
    Store(tmp_path / "b", tmp_path / "cache").put(UNIT, PAYLOAD)
    before = (tmp_path / "a" / UNIT.file).stat()
    assert Store(tmp_path / "a", tmp_path / "cache").has(UNIT)
    after = (tmp_path / "a" / UNIT.file).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_where_links_are_not_possible_it_is_copied(tmp_path, monkeypatch):
    """On two file systems; a copy that does not fit leaves nothing, and names the file."""

    def refuse(*_: Any) -> None:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(stores.os, "link", refuse)
    Store(tmp_path / "a", tmp_path / "cache").put(UNIT, PAYLOAD)
    assert same(Store(tmp_path / "b", tmp_path / "cache").get(UNIT))
    assert tree(tmp_path / "a") == tree(tmp_path / "b") == tree(tmp_path / "cache")

    def full(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(stores.shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left") as caught:
        Store(tmp_path / "a", tmp_path / "cache").put(unit(1), PAYLOAD)
    assert caught.value.filename == str(tmp_path / "cache" / unit(1).file)
    assert tree(tmp_path / "cache").keys() == {UNIT.file}


def test_a_damaged_cache_is_mended(tmp_path):
    """Its file is set aside like any other, and the unit put there again."""
    Store(tmp_path / "a", tmp_path / "cache").put(UNIT, PAYLOAD)
    cached = tmp_path / "cache" / UNIT.file
    cached.unlink()
    cached.write_bytes(b"garbage")
    store = Store(tmp_path / "b", tmp_path / "cache")
    with pytest.warns(na.AntagonismWarning, match="set aside"):
        assert not store.has(UNIT)
    store.put(UNIT, PAYLOAD)
    assert same(Store(tmp_path / "c", tmp_path / "cache").get(UNIT))


def test_who_only_looks_changes_nothing(tmp_path):
    """Nothing is linked from the cache, and nothing damaged is moved."""
    Store(tmp_path / "a", tmp_path / "cache").put(UNIT, PAYLOAD)
    before = tree(tmp_path)
    store = Store(tmp_path / "b", tmp_path / "cache", looks=True)
    assert same(store.get(UNIT))
    assert tree(tmp_path) == before
    (tmp_path / "a" / UNIT.file).unlink()
    (tmp_path / "a" / UNIT.file).write_bytes(b"garbage")
    before = tree(tmp_path)
    assert not Store(tmp_path / "a", looks=True).has(UNIT)
    assert tree(tmp_path) == before


def test_what_was_put_can_be_taken_away_again(tmp_path):
    """What this store has put or linked into its directory is gone, folders included; what was there stays."""
    Store(tmp_path / "a", tmp_path / "cache").put(UNIT, PAYLOAD)
    store = Store(tmp_path / "b", tmp_path / "cache")
    assert store.has(UNIT)
    store.put(unit(1), PAYLOAD)
    store.undo()
    assert list((tmp_path / "b").iterdir()) == []
    assert tree(tmp_path / "cache").keys() == {UNIT.file, unit(1).file}
    other = Store(tmp_path / "a")
    other.put(unit(2), PAYLOAD)
    other.undo()
    assert tree(tmp_path / "a").keys() == {UNIT.file}


def test_where_the_cache_is(tmp_path, monkeypatch):
    """What is given goes before the environment; neither: none; `~` is the home directory."""
    monkeypatch.delenv(stores.CACHE, raising=False)
    assert store_of("x", None).cache is None
    monkeypatch.setenv(stores.CACHE, "")
    assert store_of("x", None).cache is None
    monkeypatch.setenv(stores.CACHE, str(tmp_path / "everybody"))
    assert store_of("x", None).cache == tmp_path / "everybody"
    assert store_of("x", tmp_path / "mine").cache == tmp_path / "mine"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store_of("x", "~/cache").cache == tmp_path / "cache"
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_can_not_be_written(tmp_path, monkeypatch):
    """One line, before anything is made."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(na.UsageError, match=r"can't write to .*; accepted: a directory"):
            checked_cache(path)
    monkeypatch.setattr(stores.os, "access", lambda *_: False)
    with pytest.raises(na.UsageError, match=r"can't write to the cache .*: no permission; accepted"):
        checked_cache(tmp_path / "x")


# --- keys ----------------------------------------------------------------------------------------------------------


def test_labels_are_no_part_of_what_a_unit_is():
    """Two names for one thing are one unit; a kind and a key are not."""
    assert unit(label="a") == unit(label="b")
    assert unit(0) != unit(1)
    assert replace(UNIT, kind="neurons") != UNIT
