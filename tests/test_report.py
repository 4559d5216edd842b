"""Reports: what a page claims and holds, that it asks for nothing, and that it is made when it is wanted, and once."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reports import (
    HOSTILE,
    LONG,
    MARKUP,
    Parsed,
    above_chance,
    board,
    grown,
    renamed,
    run_of,
    with_prompts,
    with_tokens,
)

import neuron_antagonism as na
from neuron_antagonism.cli.app import main
from neuron_antagonism.report import answer
from neuron_antagonism.report.page import described, neurons, palette, questions, run_rows
from neuron_antagonism.report.page.plots import Plots
from neuron_antagonism.report.page.sources import BenchSource
from neuron_antagonism.suites.pages import REPORT, report_of, report_there, write_report

EVERY = ["answer", "scorers", "ratios", "layers", "across", "side-effects", "letters", "questions", "neurons"]
MEGABYTES = 5


@pytest.fixture(scope="module")
def page(reported: Path) -> Parsed:
    return Parsed(report_of([run_of(reported)]))


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["neuron-antagonism", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return int(left.value.code or 0), out, err

    return run


@pytest.fixture
def copy(reported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(reported, tmp_path / "copy"))


class TestPage:
    def test_sections(self, page):
        """Every question a reader asks has its section, in order, with a sentence of how to read it."""
        assert page.sections == [*EVERY, "provenance"]
        assert sum(attributes.get("class") == "lead" for _, attributes in page.tags) == len(page.sections)

    def test_nothing_is_fetched(self, page):
        """No element, style or policy of the page asks for anything outside of it."""
        for tag, attributes in page.tags:
            assert tag not in ("link", "iframe", "object", "embed", "img", "audio", "video", "base")
            assert "src" not in attributes
            assert (attributes.get("href") or "#").startswith("#")
        (policy,) = [a["content"] for t, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
        assert policy is not None
        assert "default-src 'none'" in policy
        assert "unsafe-eval" not in policy
        assert "http" not in policy

    def test_data_stand_once(self, page, reported):
        """Rows stand once, as fields and values; figures and tables name them."""
        data = page.data
        named = {block["source"] for kind in ("figures", "tables") for block in data[kind].values()}
        assert named == set(data["rows"])
        cells = [c for f in run_of(reported).results["tasks"].values() for c in f["cells"]["held-out"]]
        assert [row["acc"] for row in page.rows("cells")] == pytest.approx([c["acc_after"] for c in cells], rel=1e-4)

    def test_figures_have_alternatives(self, page):
        """Every figure says in words what it shows, and no figure is told from another by colour alone."""
        captions = [a for t, a in page.tags if t == "figcaption"]
        assert len(captions) == len(page.data["figures"])
        assert all(len(figure["alt"]) > 40 for figure in page.data["figures"].values())

    def test_provenance(self, page, reported):
        """Command, hashes, seeds, versions and every note stand on the page."""
        manifest = run_of(reported).manifest
        for part in (manifest["key"], manifest["model"]["fingerprint"], "run --config run/manifest.json", "torch"):
            assert part in page.text
        assert "warning: ner: unedited the model is not above chance" in page.text

    def test_at_chance_nothing_is_claimed(self, page):
        """Of a model at chance the page gives no verdict, on any task or edit."""
        assert page.text.count("No verdict: unedited the model is not above chance.") == 2
        assert {row["verdict"] for row in page.rows("cells")} == {"no verdict"}
        assert {row["front"] for row in page.rows("side")} == {"no"}

    def test_contrast(self):
        """Text and marks are at least 4.5 : 1 (marks 3 : 1) against the paper, light and dark."""

        def light(colour: str) -> float:
            parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
            r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
            return 0.2126 * r + 0.7152 * g + 0.0722 * b

        for theme in (palette.LIGHT, palette.DARK):
            for name, colour in theme.items():
                least = 4.5 if name in ("ink", "soft", "good", "bad") else 3 if name[0] == "c" else 0
                a, b = sorted((light(colour), light(theme["paper"])))
                assert (b + 0.05) / (a + 0.05) >= least, (name, colour)


class TestAnswers:
    def test_yes_needs_interval_and_random(self, reported):
        """ "Yes" takes an interval apart from 0 and more than random neurons do; anything less is said to be less."""
        source = above_chance(run_of(reported))
        found = source.results["tasks"]["ner"]
        assert {turn.verdict for turn in answer.answer("ner", found).turns} == {"yes"}
        assert answer.answer("ner", found).headline == "can be turned up and down"
        for one in found["net"]:
            one["points_interval"] = [-1.0, 20.0]
        assert {turn.verdict for turn in answer.answer("ner", found).turns} == {"not shown"}
        (cell, *_) = (c for c in found["cells"]["held-out"] if c["scorer"] == "ace" and c["mode"] == "enhance")
        cell["population_acc"] = -3.0
        assert answer.answer("ner", found).turns[0].verdict == "fails"

    def test_the_front(self, reported):
        """On the front is what does something as meant and what no other edit of its direction beats in both."""
        source = above_chance(run_of(reported))
        (found, _) = source.results["tasks"].values()
        kl, purpose = {"ace": 1.0, "act": 2.0}, {"ace": 5.0, "act": 4.0}
        for row in found["side_effects"]["rows"]:
            row["kl"] = kl[row["scorer"]]
        for cell in found["cells"]["held-out"]:
            cell["population_acc"] = purpose.get(cell["scorer"], 0.0) * (1 if cell["mode"] == "enhance" else -1)

        def front() -> set[str]:
            rows = run_rows.side_effects({"tasks": {"one": found}})
            return {row["scorer"] for row in rows if row["front"] == "yes"}

        assert front() == {"ace"}
        kl["ace"] = 3.0
        for row in found["side_effects"]["rows"]:
            row["kl"] = kl[row["scorer"]]
        assert front() == {"ace", "act"}
        for cell in found["cells"]["held-out"]:
            cell["population_acc"] = -cell["population_acc"]
        assert front() == set()

    def test_questions_are_those_that_were_asked(self, reported):
        """A question's letters and probabilities are those of its unit; right and wrong add up to the table's."""
        source = run_of(reported)
        found = questions.explorer([source])
        assert found is not None
        for one in found["tasks"]:
            before, *edits = one["edits"]
            right = sum(c == q["a"] for c, q in zip(before["c"], one["questions"], strict=True))
            result = source.results["tasks"][one["task"]]
            assert right == round(result["before"]["acc"] * len(one["questions"]))
            for edit in edits:
                (cell,) = (
                    c for c in result["cells"]["held-out"] if (c["scorer"], c["mode"]) == (edit["scorer"], edit["mode"])
                )
                assert cell["right_after"] == sum(c == q["a"] for c, q in zip(edit["c"], one["questions"], strict=True))
                assert all(abs(sum(row) - 1000) <= 4 for row in edit["q"])
            assert {edit["scorer"] for edit in edits} == {"ace", "act"}
            row = next(r for r in source.questions if r["task"] == one["task"] and r["set"] == "evaluate")
            assert one["start"] + one["questions"][0]["t"] == row["proxies"][0]["prompt"]

    def test_neurons_are_told_what_was_stored(self, reported, page):
        """Every neuron on the page has the tokens and values of its unit, those of a few digits."""
        source = run_of(reported)
        (told,) = page.data["described"]
        assert {row["id"] for row in page.rows("neurons")} == set(told["tokens"])
        for one in told["tasks"]:
            assert set(one["values"]) == {row["id"] for row in page.rows("neurons") if row["task"] == one["task"]}
            for unit in source.described[one["task"]]:
                assert one["groups"] == [list(group) for group in unit.groups]
                for i, name in enumerate(f"{layer}.{n}" for layer, n in zip(unit.layers, unit.neurons, strict=True)):
                    step, *figures = one["values"][name]
                    assert step == pytest.approx(max(abs(unit.mean[i]).max(), abs(unit.std[i]).max()) / 1000, rel=1e-3)
                    for shown, values in zip(figures, (unit.mean[i], unit.std[i]), strict=True):
                        assert [step * n for n in shown] == pytest.approx(values, abs=step)
                    (places, logits), _ = told["tokens"][name]
                    words, numbers = unit.promoted
                    assert [told["texts"][p] for p in places] == [described.shown(unit.tokens[p]) for p in words[i]]
                    assert logits == pytest.approx(numbers[i], rel=6e-3)

    def test_as_many_are_told_as_there_is_room(self, reported, monkeypatch):
        """Where not all fit, the strongest are told."""
        monkeypatch.setattr(described, "MOST", 7)
        source = run_of(reported)
        rows, _ = neurons.chosen(source)
        (told,) = described.explorer([source], {source.name: rows})
        assert [name for one in told["tasks"] for name in one["values"]] == [
            row["id"] for task in source.described for row in rows[:7] if row["task"] == task
        ]


class TestParts:
    def test_one_task_one_scorer(self, checkpoint, tmp_path):
        """A run of one task and ACT alone has no section for what it lacks, and no empty one."""
        sizes = {"identify": 2, "select": 4, "evaluate": 4, "budget": 12}
        na.run(str(checkpoint), ["sentiment"], ["act"], out=tmp_path / "x", **sizes)
        found = Parsed(report_of([run_of(tmp_path / "x")]))
        assert found.sections == [
            *("answer", "scorers", "layers", "side-effects", "letters", "questions", "neurons", "provenance")
        ]
        assert "pareto" not in found.data["figures"]

    def test_without_files(self, copy):
        """What a directory lacks, a page lacks, and says why: answers, questions, neurons."""
        shutil.rmtree(copy / "answers")
        found = Parsed(report_of([run_of(copy)]))
        assert "answers are not shown, for this run's directory does not hold them" in found.text
        for name in ("questions.jsonl", "neurons.csv"):
            (copy / name).unlink()
        assert not {"questions", "neurons"} & set(Parsed(report_of([run_of(copy)])).sections)

    def test_of_an_earlier_version(self, copy):
        """A manifest that names no answers gives a page without them."""
        manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
        for units in manifest["units"].values():
            for name in ("unedited", "answers", "exact", "described"):
                del units[name]
        (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        found = Parsed(report_of([run_of(copy)]))
        assert found.sections == [*EVERY, "provenance"]
        assert found.data["described"] == []
        assert "its tokens" not in found.text

    def test_several_runs(self, reported):
        """Several runs stand beside each other: a section for it, and a choice of the run everywhere."""
        sources = [run_of(reported), replace(run_of(reported), name="other")]
        found = Parsed(report_of(sources))
        assert found.sections[:2] == ["answer", "runs"]
        assert found.data["sections"]["scorers"]["controls"][0]["field"] == "run"
        assert {row["run"] for row in found.rows("cells")} == {"run", "other"}

    def test_suites(self):
        """Each part of a suite has its section; one without rows says so, one of an unknown kind has its table."""
        part = {"part": "antagonism", "name": "pairs"}
        suite = {
            "name": "mine",
            "about": "of mine",
            "parts": [part, {"part": "new", "name": "novel"}, {**part, "name": "none"}],
        }
        row = {"task": "ner", "scorer": "ace", "mode": "enhance", "pair": "G+B", "reason": "", "verdict": "additive"}
        rows = [row | {"interaction": 0.1, "interaction_interval": [-0.1, 0.3], "note": HOSTILE}]
        manifest = {"schema": 2, "key": "k", "version": "1", "suite": suite, "models": [], "seeds": [0], "data": {}}
        manifest |= {"packages": {}, "machine": {}, "timings": {}}
        results = {"parts": {"pairs": rows, "novel": rows, "none": []}, "notes": ["a note"], "left_out": {}}
        found = Parsed(report_of([BenchSource("x", manifest, results)]))
        assert found.sections == ["part0", "part1", "part2", "provenance"]
        assert "Nothing was measured for this part." in found.text
        assert "note: a note" in found.text
        assert found.rows("part1-all")[0]["note"] == HOSTILE


class TestBoard:
    def test_curves(self):
        """Every point of dose responses and of both rankings' curves is on the page, as the results have it."""
        source = board(scorers=3, tasks=2)
        found = Parsed(report_of([source]))
        assert found.sections == [
            *("part0", "part0-judges", "part0-doses", "part0-curve", "part0-figures", "part1", "provenance")
        ]
        rows = [row for row in source.results["parts"]["board"] if (row["task"], row["scorer"]) == ("task1", "scorer2")]
        values = {row["judge"]: row for row in rows}

        def own(name: str) -> list[dict[str, Any]]:
            return [row for row in found.rows(name) if (row["task"], row["scorer"]) == ("task1", "scorer2")]

        doses = {(row["role"], row["x"]): row for row in own("part0-dose")}
        assert len(doses) == 12
        for (role, factor), row in doses.items():
            stored = values[f"dose.{role.removesuffix(' neurons')}@{factor:g}"]
            assert [row[f] for f in ("value", "low", "high")] == [
                pytest.approx(stored[f], rel=1e-4, abs=1e-9) for f in ("value", "low", "high")
            ]
        curves = own("part0-curves")
        assert len(curves) == 2 * 3 * 10
        for row in curves:
            label = "faithfulness" if row["ranking"].startswith("signed") else "faithfulness-absolute"
            figure = {"f": "f", "completen": "completeness", "comprehen": "comprehensiveness"}
            judge = "f" if row["curve"].startswith("faithfulness") else figure[row["curve"][:9]]
            stored = values[f"{label}.{judge}@{100 * row['x']:g}%"]
            assert row["value"] == pytest.approx(stored["value"], rel=1e-4)
            assert row["ideal"] == {"f": 1, "completeness": 0, "comprehensiveness": None}[judge]
        # one judge at a time is for what is no curve
        assert {row["judge"] for row in found.rows("part0-judge")} == {"agreement.spearman", "dose.good-slope"}
        assert len(found.rows("part0-all")) == len(source.results["parts"]["board"])

    def test_bands_leave_room_for_lines(self):
        """An interval that spans every value is drawn as far as its panel goes, and told whole."""
        rows = Parsed(report_of([board(scorers=2, tasks=1)])).rows("part0-curves")
        wide = [row for row in rows if row["low"] is not None and row["high"] - row["low"] > 1000]
        assert wide
        assert all(-1 < row["from"] <= row["value"] <= row["to"] < 2 for row in wide)
        assert all(row["from"] == row["low"] for row in rows if row["low"] is not None and row not in wide)
        assert all(row.get("from") is None for row in rows if row["low"] is None)

    def test_of_an_earlier_version(self):
        """Results with two points of a curve and no dose response give a page of what there is, and claim no more."""
        source = board(without=("dose.good@", "dose.bad@"))
        kept = ("@1%", "@10%")
        rows = [r for r in source.results["parts"]["board"] if "@" not in r["judge"] or r["judge"].endswith(kept)]
        source.results["parts"]["board"] = rows
        found = Parsed(report_of([source]))
        assert "part0-doses" not in found.sections
        assert "from 1 % to 10 % of all neurons" in found.text

    def test_budgets(self):
        """Accuracy by budget stands beside that of the unedited model."""
        rows = Parsed(report_of([board(scorers=2, tasks=1)])).rows("part1-pairs")
        assert {(row["x"], row["mode"], round(row["value"]), row["before"]) for row in rows} == {
            *((10, "enhance", 54, 50), (50, "enhance", 70, 50), (100, "enhance", 90, 50)),
            *((10, "degrade", 46, 50), (50, "degrade", 30, 50), (100, "degrade", 10, 50)),
        }

    def test_large(self):
        """Twenty scorers on four tasks, five draws each: under 5 MB."""
        source = board(scorers=20)
        many = [row | {"seed": seed} for seed in range(5) for row in source.results["parts"]["board"]]
        source.results["parts"]["board"] = many
        assert len(report_of([source]).encode()) < MEGABYTES * 1e6


class TestHostile:
    @pytest.mark.parametrize("text", [HOSTILE, LONG], ids=["markup", "long"])
    def test_names_and_prompts_are_text(self, reported, text):
        """HTML, scripts, emoji, right-to-left and 10,000 characters in prompts, options and names stay text."""
        source = with_prompts(renamed(run_of(reported), {"ner": text, "ace": f"s{text}", "demo": text}, text), text)
        page = report_of([source])
        found = Parsed(page)
        assert len(found.scripts) == 3
        assert [tag for tag, _ in found.tags].count("script") == 3
        assert not [tag for tag, _ in found.tags if tag == "img"]
        assert MARKUP in found.text
        assert text in {row["task"] for row in found.rows("cells")}
        assert len(page.encode()) < MEGABYTES * 1e6
        assert any(text in question["o"] for one in found.data["questions"]["tasks"] for question in one["questions"])
        assert "{{ 7 * 7 }}" in found.text

    def test_tokens_are_text(self, reported):
        """Tokens with markup, control characters, ends of lines and other directions are text, what is unseen codes."""
        tokens = [
            MARKUP,
            "\x00\x1b[31m",
            " the",
            "\n\t",
            "\N{RIGHT-TO-LEFT OVERRIDE}abc",
            "مرحبا",
            "\N{LINE SEPARATOR}",
            "'",
        ]
        page = report_of([with_tokens(run_of(reported), tokens, HOSTILE)])
        found = Parsed(page)
        assert (len(found.scripts), [tag for tag, _ in found.tags].count("script")) == (3, 3)
        (told,) = found.data["described"]
        assert told["texts"] == [
            *(f"'{MARKUP[: described.LONGEST - 1]}…'", r"'\x00\x1b[31m'", "' the'", r"'\n\t'", r"'\u202eabc'"),
            *("'مرحبا'", r"'\u2028'", '"\'"'),
        ]


class TestSize:
    def test_large(self, reported):
        """4 tasks x 8 scorers x 300 examples of 352,256 neurons: under 5 MB, and what is left out is said."""
        source = grown(run_of(reported))
        page = report_of([source])
        assert len(page.encode()) < MEGABYTES * 1e6
        data = Parsed(page).data
        assert 1_000 < len(data["rows"]["neurons"]["r"]) <= 6_000
        assert "352,256 in the model" in page
        (told,) = data["described"]
        assert 900 < sum(len(one["values"]) for one in told["tasks"]) <= 1_000
        assert sum(len(one["questions"]) for one in data["questions"]["tasks"]) == 4 * 900

    def test_long_prompts_are_cut(self, reported):
        """Prompts that are more than a page can hold are cut, or left to questions.jsonl, which is said."""
        source = grown(with_prompts(run_of(reported), "word " * 2_000))
        page = report_of([source])
        assert len(page.encode()) < MEGABYTES * 1e6
        assert "characters more, see questions.jsonl" in page


class TestCommand:
    def test_made_once(self, call, copy, tmp_path):
        """`run` makes the page at its end and names it; asked again it is there, and is not made again."""
        config = ("run", "--config", copy / "manifest.json", "--out", copy, "--quiet")
        code, out, err = call(*config)
        assert (code, err) == (0, "")
        assert out.endswith(f"report: {copy / REPORT}\n")
        before = (copy / REPORT).stat().st_mtime_ns
        assert call(*config)[0] == 0
        assert (copy / REPORT).stat().st_mtime_ns == before
        (copy / REPORT).unlink()
        code, out, err = call(*config, "--json")
        assert json.loads(out)["path"] == str(copy)
        assert (copy / REPORT).is_file()

    def test_left_out(self, call, copy):
        """--no-report makes none."""
        code, out, _ = call("run", "--config", copy / "manifest.json", "--out", copy, "--quiet", "--no-report")
        assert code == 0
        assert "report" not in out.splitlines()[-1]
        assert not (copy / REPORT).exists()

    def test_replaced(self, copy):
        """A page of other results is no page of these."""
        file = write_report([copy])
        key = run_of(copy).manifest["key"]
        assert report_there(copy, key) == file
        assert report_there(copy, "another") is None

    def test_a_failing_report_fails_no_run(self, call, copy):
        """Where the page can't be written, the run's results are shown all the same, with a warning."""
        (copy / REPORT).mkdir()
        code, out, err = call("run", "--config", copy / "manifest.json", "--out", copy, "--quiet")
        assert code == 0
        assert "read from" in out
        assert re.match(r"warning: no report: .+ is a directory; accepted: ", err)

    def test_no_torch(self, copy):
        """Making a page imports no torch, nor what is built on it."""
        code = (
            f"import sys; sys.argv = ['neuron-antagonism', 'report', {str(copy)!r}]\n"
            "from neuron_antagonism.cli.app import main\n"
            "try: main()\n"
            "except SystemExit as left: assert not left.code\n"
            "print(sorted({'torch', 'transformers', 'transformer_lens', 'pandas'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.stdout.splitlines()[-1] == "[]", done.stderr

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("{}/nothing",), "holds no results; accepted: a directory that `run` or `bench` finished"),
            (("{}/copy", "{}/copy"), "needs --out; accepted: a file such as report.html"),
            (("{}/copy", "{}/copy", "--out", "{}/x.html"), "was given twice"),
            (("{}/copy", "--out", "{}/mine.txt"), "is there and is no report; accepted: a new file"),
            (("{}/copy", "--out", "{}/no/x.html"), "is no directory; accepted: a file in one that is there"),
        ],
    )
    def test_refused(self, call, copy, tmp_path, words, said):
        """Whatever is wrong is one line that says what is accepted, and nothing is written."""
        (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
        code, out, err = call("report", *(word.format(tmp_path) for word in words))
        assert (code, out) == (2, "")
        assert said in err
        assert len(err.splitlines()) == 1
        assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == "mine"

    def test_damaged(self, call, copy):
        """Results that lack something are named, in one line."""
        results = json.loads((copy / "results.json").read_text(encoding="utf-8"))
        del results["tasks"]["ner"]["net"]
        (copy / "results.json").write_text(json.dumps(results), encoding="utf-8")
        code, _, err = call("report", copy)
        assert code == 2
        assert re.fullmatch(r"error: .+ is damaged \(KeyError: 'net'\); accepted: .+\n", err)


class TestFigures:
    def test_in_a_notebook(self, reported):
        """Every figure of the page is a chart of its own, with its rows and the light colours; choices are checked."""
        plot = na.load_run(reported).plot
        assert {"levels", "effects", "sweep", "layers", "cross", "pareto", "letters"} <= set(plot.names)
        for name in ("levels", "effects", "sweep", "layers", "cross", "side_effects", "letters"):
            document = getattr(plot, name)().to_dict()
            assert all(document["datasets"].values())
            assert "var(--" not in json.dumps(document)
        (rows,) = plot.effects(task="ner", metric="rac").to_dict()["datasets"].values()
        assert {(row["task"], row["metric"][:3]) for row in rows} == {("ner", "RAC")}
        with pytest.raises(na.UsageError, match="unknown task 'nre'"):
            plot.effects(task="nre")
        with pytest.raises(na.UsageError, match="unknown figure 'pie'"):
            plot.chart("pie")

    def test_all_where_all_are_a_choice(self):
        """A chart of curves has every scorer, unless one is chosen."""
        plot = Plots([board(scorers=3, tasks=2)])
        for name in ("part0-dose", "part0-curves"):
            for choices, expected in (({}, 3), ({"scorer": "scorer1"}, 1)):
                (rows,) = plot.chart(name, **choices).to_dict()["datasets"].values()
                assert len({row["scorer"] for row in rows}) == expected
                assert {row["task"] for row in rows} == {"task0"}

    def test_of_a_run_without_a_directory(self, reported):
        """A result in memory has every chart that needs its figures alone."""
        result = na.load_run(reported)
        result.path = None
        assert "effects" in result.plot.names
        assert "overlap" not in result.plot.names

    def test_files(self, call, copy, tmp_path):
        """`report --figures` writes each figure as PNG and SVG, of a task once a task."""
        code, out, _ = call("report", copy, "--figures", tmp_path / "figures")
        assert code == 0
        files = {file.name: file.read_bytes() for file in (tmp_path / "figures").iterdir()}
        assert {"levels.png", "levels.svg", "effects.ner.png", "effects.sentiment.svg"} <= set(files)
        assert out.splitlines()[-1].endswith(f": {len(files)} files")
        assert all(data.startswith(b"\x89PNG" if name.endswith("png") else b"<svg") for name, data in files.items())
        # every mark has its rows
        assert files["effects.ner.svg"].count(b"<path") > 12


class TestNotebook:
    def test_tables(self, reported):
        """Results, attributions, neuron sets, questions and examples show as small tables."""
        result = na.load_run(reported)
        attribution = result.attributions["ner"]["ace"]
        example = result.splits["ner"].evaluate[0]
        suite = na.BenchResult({}, {"part": [{"task": HOSTILE, "value": 1.0, "none": None}]})
        for thing in (result, attribution, attribution.good(5), example, example.proxies[0], suite):
            shown = Parsed(thing._repr_html_())
            assert "table" in {tag for tag, _ in shown.tags}
            assert shown.scripts == []
        for thing in (result, attribution, attribution.good(5), suite):
            assert len(repr(thing)) < 300
        assert MARKUP in Parsed(suite._repr_html_()).text
        assert "No verdict" not in result._repr_html_()
        assert "no verdict: unedited the model is not above chance" in result._repr_html_()

    def test_hostile(self):
        """A question's markup is text."""
        question = na.Question(MARKUP, (MARKUP, "b"), 0)
        for thing in (question, na.Example(None, (question,))):
            shown = Parsed(thing._repr_html_())
            assert not {"script", "img"} & {tag for tag, _ in shown.tags}
            assert MARKUP in shown.text
