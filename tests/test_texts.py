"""A text belongs to one set; small data is enough; what is left out is counted and said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny
from conftest import SHARED

import neuron_antagonism as na

one_thread = tiny.one_thread


class Pool(na.Task):
    """Items of one's own."""

    name = "pool"
    role = rule = "w1"
    stems = ("{text} w2",)

    def __init__(self, items: list[na.Item]) -> None:
        self.pool = items

    def examples(self, source, seed):
        yield from self.pool


def item(text: str, number: int = 0, part: str = "", **more: Any) -> na.Item:
    return na.Item(text, f"right {number}", ["x", "y", "z"], {"id": str(number)}, part, **more)


def texts(split: Any) -> list[set[str]]:
    return [{e.unit for e in getattr(split, name)} for name in ("identify", "select", "evaluate")]


def shown(split: Any) -> str:
    """The demonstration's text."""
    return split.evaluate[0].proxies[0].prompt.split("\n\n")[1].split(" w2")[0]


@pytest.mark.parametrize("seed", range(5))
def test_a_text_is_in_one_set_only(seed):
    """Three items about each text, however it is spaced and composed: no set and no demonstration shares one."""
    forms = ("caf\u00e9 {}", "cafe\u0301 {}", " caf\u00e9  {} ")
    pool = [item(form.format(n), 3 * n + i) for n in range(20) for i, form in enumerate(forms)]
    split = na.load_task(Pool(pool)).split(3, 4, 5, seed=seed)
    sets = [*texts(split), {" ".join(shown(split).replace("e\u0301", "\u00e9").split())}]
    assert sum(len(one) for one in sets) == len(set.union(*sets))
    assert [len(split.identify), len(split.select), len(split.evaluate)] == [3, 4, 5]
    assert any(note.endswith("rows left out: their text is in another set") for note in split.report.notes)


def test_a_passage_may_be_what_belongs_together():
    """Items name their unit where it is not the text."""
    pool = [item(f"question {n}", n, unit=f"passage {n // 4}") for n in range(80)]
    split = na.load_task(Pool(pool)).split(3, 4, 5)
    sets = texts(split)
    assert all(unit.startswith("passage") for one in sets for unit in one)
    assert sum(map(len, sets)) == len(set.union(*sets))


def test_texts_of_both_parts():
    """They stay in the test part, but for those that the training part can't do without."""
    train = [item(f"t{n}", n, "train") for n in range(12)]
    test = [item(f"t{n}", 100 + n, "test") for n in range(30)]
    split = na.load_task(Pool([*train, *test])).split(4, 2, 12)
    sets = texts(split)
    assert [len(one) for one in sets] == [4, 2, 12]
    assert len(set.union(*sets, {shown(split)})) == 19
    assert split.report.shared_texts == 12
    plenty = [item(f"u{n}", 200 + n, "train") for n in range(30)]
    split = na.load_task(Pool([*plenty, *train, *test])).split(4, 2, 12)
    assert {e.item.part for e in split.identify} == {"train"}
    assert all(e.item.text.startswith("u") for e in (*split.identify, *split.select))


@pytest.mark.parametrize("seed", range(3))
def test_parts_that_share_every_text(seed):
    """Neither part takes all of them: every set gets examples, and none shares a text."""
    train = [item(f"t{n}", n, "train") for n in range(40)]
    test = [item(f"t{n}", 100 + n, "test") for n in range(40)]
    split = na.load_task(Pool([*train, *test])).split(5, 50, 100, seed=seed)
    sets = texts(split)
    assert [len(one) for one in sets] == [5, 14, 20]
    assert len(set.union(*sets, {shown(split)})) == 40
    assert split.report.shared_texts == 40


def test_a_tasks_own_demonstration_is_not_asked():
    """Nor is any other item about its text."""
    task = Pool([item(f"t{n}", n) for n in range(30)])
    task.demonstration = item("t3", 99)
    split = na.load_task(task).split(5, 10, 14)
    assert "t3" not in set.union(*texts(split))


class Understands:
    """A reference model that understands some examples."""

    name = "reference"

    def __init__(self, share: float) -> None:
        self.share = share

    def fits(self, question):
        return True

    def encode_all(self, questions):
        return []


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_thirty_rows_are_enough_for_nineteen(share, seed, monkeypatch):
    """Whatever the reference understands, no set is empty, and a short stratum is a note."""

    def understood(model, examples):
        return tiny.evaluated(int(e.item.text[1:]) < model.share * 30 for e in examples)

    monkeypatch.setattr("neuron_antagonism.method.evaluate.evaluate", understood)
    task = Pool([item(f"t{n}", n) for n in range(30)])
    split = na.load_task(task).split(2, 8, 8, seed=seed, reference=Understands(share))
    assert len(split.identify) == 2
    assert min(len(split.select), len(split.evaluate)) >= 4
    if share == 0.5:
        assert [len(split.select), len(split.evaluate)] == [8, 8]
    for name in ("select", "evaluate"):
        known = [int(e.item.text[1:]) < share * 30 for e in getattr(split, name)]
        assert split.strata[name] == known
        if len(getattr(split, name)) < 8:
            assert any(note.startswith(f"{name}: ") for note in split.report.notes)
    sets = texts(split)
    assert sum(map(len, sets)) == len(set.union(*sets))


def test_what_is_left_out_is_said():
    """Duplicates, too few options, and what the task itself leaves out, each with how many of how many."""

    class Counting(Pool):
        def examples(self, source, seed):
            self.left_out["empty cell"] += 7
            yield from super().examples(source, seed)

    poor = [na.Item(f"p{n}", "a", ["b", "b "]) for n in range(3)]
    task = na.load_task(Counting([*(item(f"t{n}", n) for n in range(20)), item("t1", 1), *poor]))
    for _ in range(2):
        split = task.split(2, 2, 2)
        assert split.report.notes[-3:] == [
            "1 of 31 rows left out: the same as another",
            "3 of 31 rows left out: fewer than 4 different options",
            "7 of 31 rows left out: empty cell",
        ]


def test_what_a_task_leaves_out_is_its_own():
    """Each instance counts for itself, also where nobody but its caller reads the data."""

    class Counting(Pool):
        def examples(self, source, seed):
            self.left_out["empty cell"] += 1
            yield from self.pool

    one, other = Counting([item("a")]), Counting([item("a")])
    assert len(list(one.examples(None, 0))) == 1
    assert (one.left_out, other.left_out) == ({"empty cell": 1}, {})


def test_sizes_of_any_integer_type():
    """numpy's numbers are numbers; fractions and truth values are none."""
    task = na.load_task(Pool([item(f"t{n}", n) for n in range(30)]))
    assert len(task.split(np.int64(2), np.uint8(3), 4, seed=np.int64(0)).select) == 3
    for wrong in (2.5, True, "2", -1):
        with pytest.raises(na.UsageError, match=r"identify is .*; accepted: a whole number from 0"):
            task.split(wrong, 2, 2)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not here")
def test_classes_that_a_real_file_does_not_hold():
    """SST has no sentence that nobody is sure of: three classes are left, and a note says so."""
    files = {"source": SHARED / "sst" / "test.txt", "train": SHARED / "sst" / "train.txt"}
    split = na.concept_split(na.load_task("sentiment", **files), identify=2, evaluate=2)
    assert split.concepts == ("positive", "negative", "neutral")
    assert "the class 'not sure' is left out: the data holds no example of it" in split.report.notes
    assert len(split.identify) == len(split.evaluate) == 6
