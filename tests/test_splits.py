"""Dividing a task's examples: disjoint sets, halves a model understands and doesn't, letters, and what is left out."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import tiny

import neuron_antagonism as na
from neuron_antagonism.tasks import drawing
from neuron_antagonism.tasks import load as tasks_module
from neuron_antagonism.tasks.qatt import letter_pattern
from neuron_antagonism.tasks.splits import SETS, Split

DISTRACTORS = ("two", "three", "four", "five")


def items(count: int, part: str = "", start: int = 0) -> list[na.Item]:
    return [na.Item(f"text {number}", "one", DISTRACTORS, part=part) for number in range(start, start + count)]


class Listed(na.Task):
    """A task over items that a test lists."""

    name = "listed"
    role, rule = "You answer.", "Reply with one letter only: A, B, C or D."
    stems = ("Text: {text}\nWhat is it?", "Read: {text}\nWhich?", "{text}: what?")

    def __init__(self, *pool: na.Item) -> None:
        self.pool = pool

    def examples(self, source, seed):
        yield from self.pool


class Oracle:
    """Stands for a reference model: it understands the examples whose number `knows` accepts."""

    name = "oracle"

    def __init__(self, knows: Any = lambda number: number % 3 > 0, limit: int | None = None) -> None:
        self.knows, self.limit, self.asked = knows, limit, []

    def fits(self, question: na.Question) -> bool:
        return self.limit is None or len(question.prompt) <= self.limit

    def encode_all(self, questions: Any) -> list[Any]:
        return []

    def evaluate(self, examples: Any) -> Any:
        self.asked += [number(example) for example in examples]
        return tiny.evaluated(self.knows(number(example)) for example in examples)


def number(example: na.Example) -> int:
    assert example.item is not None
    return int(example.item.text.split()[1])


@pytest.fixture(autouse=True)
def _oracle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuron_antagonism.method.evaluate.evaluate", lambda model, examples: model.evaluate(examples))


def cut(*pool: na.Item, reference: Any = None, **sizes: Any) -> Split:
    return na.load_task(Listed(*pool)).split(
        **{"identify": 3, "select": 8, "evaluate": 12, **sizes}, reference=reference
    )


def texts(examples: list[na.Example]) -> list[str]:
    return [example.item.text for example in examples if example.item is not None]


def prompts(split: Split) -> list[str]:
    return [q.prompt for name in SETS for example in getattr(split, name) for q in example.proxies]


class TestSets:
    @pytest.mark.parametrize("task", ["ner", "chunking", "sentiment", "commonsense"])
    def test_shipped_samples(self, task):
        """Of every embedded sample: sets of the sizes asked for, disjoint, training and test part kept apart."""
        split = na.load_task(task).split(identify=5, select=24, evaluate=40)
        sets = [getattr(split, name) for name in SETS]
        assert [len(s) for s in sets] == [5, 24, 40]
        keys = [example.item.key for s in sets for example in s]
        assert len(set(keys)) == len(keys)
        assert {e.item.part for e in (*split.identify, *split.select)} == {"train"}
        assert {e.item.part for e in split.evaluate} == {"test"}

    def test_one_source_gives_all_sets(self):
        """Without parts all sets come from one source, still disjoint, and a note says so."""
        split = cut(*items(60))
        everything = [*texts(split.identify), *texts(split.select), *texts(split.evaluate)]
        assert len(set(everything)) == len(everything) == 3 + 8 + 12
        assert "no training part: all sets come from one source" in split.report.notes

    def test_parts(self):
        """Identification, selection and demonstration come from the training part, evaluation from the test part."""
        split = cut(*items(40, "train"), *items(40, "test", start=40))
        assert all(number(e) < 40 for e in (*split.identify, *split.select))
        assert all(number(e) >= 40 for e in split.evaluate)
        shown = split.evaluate[0].proxies[0].prompt.partition("Text: text ")[2].split()[0]
        assert int(shown) < 40

    def test_identification_ignores_the_reference(self):
        """Identification examples are the same whatever a model answers."""
        pool = items(100)
        found = [texts(cut(*pool, reference=r).identify) for r in (None, Oracle(), Oracle(lambda n: n % 2 == 0))]
        assert found[0] == found[1] == found[2]

    def test_a_short_set_is_noted(self):
        """Fewer examples than asked for: the note has both counts."""
        split = cut(*items(20), evaluate=20)
        assert len(split.evaluate) == 20 - 1 - 3 - 8
        assert "evaluate: 8 examples instead of 20" in split.report.notes

    @pytest.mark.parametrize("count", [0, 1, 2, 4, 12])
    def test_no_example_left(self, count):
        """Nothing left for a set is an error that counts what was left out."""
        with pytest.raises(na.DataError, match=r"task 'listed'.*(no example|usable examples)"):
            cut(*items(count))


class TestStrata:
    def test_halves(self):
        """Half of the selection and evaluation sets is understood by the reference, and the strata say which."""
        oracle = Oracle()
        split = cut(*items(200), reference=oracle)
        for name, count in (("select", 8), ("evaluate", 12)):
            known = [oracle.knows(number(e)) for e in getattr(split, name)]
            assert split.strata[name] == known
            assert sum(known) == count // 2
            assert split.report.understood[name] == (count // 2, count // 2)
        assert split.report.reference == "oracle"

    def test_an_odd_size(self):
        """The odd example goes to the understood half."""
        split = cut(*items(200), select=7, evaluate=9, reference=Oracle())
        assert split.report.understood == {"select": (4, 3), "evaluate": (5, 4)}

    @pytest.mark.parametrize("share", [0.0, 0.05, 1.0])
    def test_reads_at_most_four_times_the_sizes(self, share):
        """However rare a stratum is, the reference is asked at most 4 * (select + evaluate) examples, each once."""
        oracle = Oracle(lambda n: n < share * 500)
        split = cut(*items(500), reference=oracle)
        assert len(set(oracle.asked)) == len(oracle.asked) <= 4 * (8 + 12)
        assert split.report.read == len(oracle.asked) + len(split.identify)

    def test_stops_reading_when_both_halves_are_full(self):
        """No more is asked than is needed, a block at a time."""
        oracle = Oracle(lambda n: n % 2 == 0)
        cut(*items(500), reference=oracle)
        assert len(oracle.asked) <= 2 * drawing.BLOCK

    def test_a_stratum_that_runs_short(self):
        """What there is is taken, not filled up from the other stratum, and noted."""
        split = cut(*items(500), reference=Oracle(lambda n: True))
        assert split.report.understood == {"select": (4, 0), "evaluate": (6, 0)}
        assert split.strata == {"select": [True] * 4, "evaluate": [True] * 6}
        lines = [line for line in split.report.notes if "does not understand" in line]
        assert lines[0].startswith("select: 0 examples that oracle does not understand, instead of 4")
        assert "select: 4 examples instead of 8" in split.report.notes

    def test_progress(self):
        """Progress counts up to what is wanted."""
        seen: list[tuple[str, int, int]] = []
        task = na.load_task(Listed(*items(200)))
        task.split(2, 8, 12, reference=Oracle(), progress=lambda *report: seen.append(report))
        assert seen[-1] == ("choosing examples (evaluate)", 12, 12)


class TestLetters:
    def test_each_letter_is_right_equally_often(self):
        """In each half of each set every letter is omitted, hence right, equally often."""
        split = cut(*items(400), select=16, evaluate=24, reference=Oracle())
        for name in ("select", "evaluate"):
            halves: dict[bool, Counter[int]] = {True: Counter(), False: Counter()}
            for example, known in zip(getattr(split, name), split.strata[name], strict=True):
                halves[known][letter_pattern(example)] += 1
            for half in halves.values():
                assert len(half) == 4
                assert max(half.values()) == min(half.values())
            assert len(set(split.report.right_letters[name].values())) == 1

    def test_imbalance_is_reported(self):
        """The report counts how often each letter is right in the set that was drawn."""
        split = cut(*items(100), reference=Oracle())
        for name in SETS:
            counted = Counter(q.letters[q.answer] for e in getattr(split, name) for q in e.proxies)
            assert split.report.right_letters[name] == {letter: counted[letter] for letter in "ABCD"}


class TestDemonstration:
    @pytest.mark.parametrize("parts", [("", ""), ("train", "test")])
    def test_appears_nowhere_else(self, parts):
        """The demonstration stands in every prompt and is asked about in none."""
        split = cut(*items(50, parts[0]), *items(50, parts[1], start=50))
        shown = {p.partition("Text: ")[2].partition("\n")[0] for p in prompts(split)}
        (demonstration,) = shown
        everything = [text for name in SETS for text in texts(getattr(split, name))]
        assert demonstration not in everything
        assert all(p.count(f"{demonstration}\n") == 1 for p in prompts(split))

    def test_a_tasks_own(self):
        """A task's own demonstration is used; no example is spent on it."""
        task = Listed(*items(23))
        task.demonstration = na.Item("the shown one", "one", DISTRACTORS)
        split = na.load_task(task).split(3, 8, 12)
        assert len(split.evaluate) == 12
        assert all("Text: the shown one\n" in p for p in prompts(split))

    def test_short(self):
        """The demonstration, which every prompt pays for, is the shortest of the first few."""
        long = [
            replace(item, text=item.text + " word" * 50) for item in items(tasks_module.DEMONSTRATION_CANDIDATES - 1)
        ]
        split = cut(*long, na.Item("text 99", "one", DISTRACTORS), identify=1, select=2, evaluate=2)
        assert all("Text: text 99\n" in p for p in prompts(split))


class TestLeftOut:
    def test_duplicates_are_counted_once(self):
        """Equal text, meta and answer is one example, across parts too; another answer is another example."""
        twin = replace(items(1)[0], answer="two", distractors=("one", "three", "four"))
        split = cut(*items(30), *items(20), twin, identify=2, select=2, evaluate=27)
        assert split.report.duplicates == 20
        answers = Counter(e.item.answer for name in SETS for e in getattr(split, name) if e.item is not None)
        assert answers["two"] <= 1
        assert answers.total() == 30  # 31 different ones, less the demonstration

    def test_a_duplicate_never_stands_on_both_sides(self):
        """An item in both parts belongs to the test part only."""
        split = cut(*items(60, "train"), *items(30, "test"), identify=5, select=15, evaluate=25)
        assert not {*texts(split.identify), *texts(split.select)} & set(texts(split.evaluate))
        assert split.report.duplicates == 30

    def test_fewer_than_four_options(self):
        """Items without four distinct options are left out and counted."""
        poor = [na.Item(f"poor {i}", "one", ("one", "two", "two", "three")) for i in range(7)]
        split = cut(*items(40), *poor)
        assert split.report.too_few_options == 7
        assert not any("poor" in p for p in prompts(split))

    def test_only_poor_items(self):
        """Nothing but such items: the error counts them."""
        poor = [na.Item(f"poor {i}", "one", ("two", "three")) for i in range(7)]
        with pytest.raises(na.DataError, match="7 of 7 rows left out: fewer than 4 different options"):
            cut(*poor)

    def test_longer_than_the_context(self):
        """Examples with a proxy that is too long are left out and counted, wherever they would have gone."""
        long = [na.Item(f"text {i} " + "long " * 200, "one", DISTRACTORS) for i in range(100, 160)]
        split = cut(*items(60), *long, reference=Oracle(limit=400))
        assert split.report.too_long > 0
        assert not any("long" in p for p in prompts(split))
        assert (len(split.identify), len(split.select), len(split.evaluate)) == (3, 8, 12)

    def test_too_long_for_everything(self):
        """Nothing fits: an error that says why."""
        with pytest.raises(na.DataError, match=r"longer than the model's context"):
            cut(*items(60), reference=Oracle(limit=10))

    def test_fits_may_be_another_model(self):
        """`fits` is the model whose context counts, `reference` the one that is asked."""
        task = na.load_task(Listed(*items(60)))
        with pytest.raises(na.DataError, match=r"longer than the model's context"):
            task.split(2, 4, 4, reference=Oracle(), fits=Oracle(limit=10))


class TestSeeds:
    def test_the_same_seed(self):
        """The same seed gives the same sets, byte for byte; another one gives others."""
        pool = items(300)
        first, again, other = (list(cut(*pool, reference=Oracle(), seed=seed).rows()) for seed in (3, 3, 4))
        assert json.dumps(first) == json.dumps(again)
        assert json.dumps(first) != json.dumps(other)

    def test_sizes_of_one_set_leave_the_ones_before_alone(self):
        """Asking for more evaluation examples changes neither identification nor selection."""
        pool = items(300)
        small, large = (cut(*pool, reference=Oracle(), evaluate=n) for n in (4, 40))
        assert small.identify == large.identify
        assert small.select == large.select


class TestFiles:
    def test_round_trip(self, tmp_path):
        """What is saved is loaded: examples, order, strata, what was read."""
        split = cut(*items(100), reference=Oracle())
        split.save(tmp_path / "questions.jsonl")
        loaded = Split.load(tmp_path / "questions.jsonl")
        for name in SETS:
            assert getattr(loaded, name) == getattr(split, name)
        assert loaded.strata == split.strata
        assert len((tmp_path / "questions.jsonl").read_bytes().split(b"\n")) == 3 + 8 + 12 + 2
        assert loaded.natural == split.natural

    def test_text_of_any_kind(self, tmp_path):
        """Unicode, ends of lines that JSON does not escape, meta values: all come back as they were."""
        odd = na.Item(
            'ein "Zitat" \u2028 \u0085 \x0b \x1e 😀\n\\', "ä\u2029", ("b\u0085", "c", "d"), meta={"mention": "x\u2028"}
        )
        example = na.Example(odd, (na.Question(f"{odd.text}\nAnswer:", (odd.answer, *odd.distractors), 0),))
        Split([example], [], [na.Example(None, example.proxies)]).save(tmp_path / "odd.jsonl")
        loaded = Split.load(tmp_path / "odd.jsonl")
        assert loaded.identify == [example]
        assert loaded.evaluate[0].item is None
        assert loaded.strata == {}

    def test_missing_file(self, tmp_path):
        """A missing file is named."""
        with pytest.raises(na.DataError, match=r"gone\.jsonl: No such file or directory; accepted: a file that Split"):
            Split.load(tmp_path / "gone.jsonl")

    @pytest.mark.parametrize(
        "line",
        [
            "{",
            "3",
            "null",
            "{}",
            '{"set": "train", "understood": null, "item": null, "proxies": []}',
            "LETTER",
            "EXTRA",
        ],
    )
    def test_malformed_line(self, tmp_path, line):
        """A malformed line is named with its number."""
        split = cut(*items(60), identify=2, select=2, evaluate=2)
        good = [json.dumps(row) for row in split.rows()]
        row = json.loads(good[1])
        if line == "LETTER":
            row["proxies"][0]["answer"] = 4
            line = json.dumps(row)
        elif line == "EXTRA":
            row["proxies"][0]["colour"] = "red"
            line = json.dumps(row)
        (tmp_path / "bad.jsonl").write_text("\n".join([good[0], line, *good[2:]]), encoding="utf-8")
        with pytest.raises(
            na.DataError, match=r"bad\.jsonl, line 2: .*accepted: a line that Split\.save wrote"
        ) as caught:
            Split.load(tmp_path / "bad.jsonl")
        assert "\n" not in str(caught.value)


class TestLoading:
    def test_training_data_alone(self):
        """A training file without an evaluation file is an error."""
        with pytest.raises(na.DataError, match="training data but no evaluation data"):
            na.load_task("sentiment", train="x.txt")

    def test_two_files(self, tmp_path):
        """Two files are the two parts, whatever they hold."""
        for name, start in (("train", 0), ("test", 100)):
            lines = (f"(3 (2 word{number}) (3 good))" for number in range(start, start + 50))
            (tmp_path / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
        task = na.load_task("sentiment", source=str(tmp_path / "test.txt"), train=str(tmp_path / "train.txt"))
        split = task.split(2, 4, 8)
        assert all(int(text[4:].split()[0]) < 100 for text in (*texts(split.identify), *texts(split.select)))
        assert all(int(text[4:].split()[0]) >= 100 for text in texts(split.evaluate))

    @pytest.mark.parametrize("missing", ["role", "rule", "stems"])
    def test_a_task_without_wording(self, missing):
        """A task needs role, rule and stems."""
        task = Listed(*items(10))
        setattr(task, missing, "")
        with pytest.raises(na.PluginError, match="task 'listed' lacks role, rule or stems"):
            na.load_task(task)

    def test_a_stem_with_an_unknown_field(self):
        """A stem that asks for what items don't have is an error before any prompt is made."""
        task = Listed(*items(40))
        task.stems = ("{text} {colour}?",)
        with pytest.raises(na.DataError, match=r"has the field \{colour\}; accepted: \{text\}, plain names only"):
            na.load_task(task).split(2, 2, 2)


def test_a_task_that_was_read_keeps_its_items():
    """Whatever becomes of its data: the sets are those of the items that were read, and nothing is read twice."""
    task = Listed(*items(60))
    whole, read = na.load_task(task), na.load_task(task).read(0)
    before = whole.split(identify=3, select=4, evaluate=6)
    task.pool = task.pool[:20]
    after = read.split(identify=3, select=4, evaluate=6)
    assert texts(after.evaluate) == texts(before.evaluate)
    assert after.report.rows == 60
    assert texts(read.split(identify=3, select=4, evaluate=6).evaluate) == texts(before.evaluate)
    # another seed may draw other items
    assert read.split(identify=3, select=4, evaluate=6, seed=1).report.rows == 20
