"""Reports in a real browser: everything is drawn, nothing is asked for, tables and choices work, text stays text."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
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

from neuron_antagonism.suites.pages import report_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium is installed; on Debian: apt-get install chromium"
)

SIZES = {"wide": (1280, 900), "narrow": (390, 844)}
OPENS_IN = 2.0
"""Seconds that a large page may take."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; it is in the extra test")
    with sync.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def pages(reported: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages by what they are of."""
    where = tmp_path_factory.mktemp("pages")
    source = run_of(reported)
    texts = {
        "plain": report_of([above_chance(source)]),
        "large": report_of([grown(source)]),
        "hostile": report_of(
            [
                with_tokens(
                    with_prompts(renamed(source, {"ner": LONG, "ace": f"s{LONG}", "demo": LONG}, LONG), LONG),
                    [MARKUP, "\x00\x1b[31m", "  spaced", "\N{RIGHT-TO-LEFT OVERRIDE}abc", LONG],
                    LONG,
                )
            ]
        ),
        "residual": report_of([without_tokens(source)]),
        "bare": report_of([replace(source, described={})]),
        "board": report_of([board()]),
        "hostile board": report_of([board(2, 1, name=HOSTILE)]),
    }
    found = {}
    for name, text in texts.items():
        found[name] = where / f"{name}.html"
        found[name].write_text(text, encoding="utf-8")
    return found


def without_tokens(source: Any) -> Any:
    """A run of units that have no output vector."""
    told = {
        task: [
            replace(one, tokens=[], promoted=None, suppressed=None, reason="they have no output vector") for one in own
        ]
        for task, own in source.described.items()
    }
    return replace(source, described=told)


class Opened:
    """A page in a browser, and what went on there.

    Attributes:
        page: playwright's page.
        said: what the console said, and errors.
        asked: what was requested beside the file itself.
        seconds: until it could be used.
    """

    def __init__(self, browser: Any, file: Path, size: str = "wide", **options: Any) -> None:
        """Open a file, and wait until everything is drawn."""
        width, height = SIZES[size]
        self.context = browser.new_context(viewport={"width": width, "height": height}, **options)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        start = time.perf_counter()
        self.page.goto(file.as_uri())
        self.page.wait_for_selector("html[data-ready]")
        self.page.wait_for_selector("figure svg")
        self.seconds = time.perf_counter() - start
        self.page.wait_for_selector("html[data-drawn]")

    def rows(self, table: str) -> list[list[str]]:
        """The texts of a table's body."""
        lines = self.page.locator(f"{table} tbody tr").all()
        return [[cell.inner_text() for cell in line.locator("td").all()] for line in lines]

    def column(self, table: str, number: int) -> list[str]:
        return [row[number] for row in self.rows(table)]


@pytest.fixture
def opened(browser: Any, pages: dict[str, Path]) -> Iterator[Any]:
    every: list[Opened] = []

    def opening(name: str = "plain", size: str = "wide", **options: Any) -> Opened:
        every.append(Opened(browser, pages[name], size, **options))
        return every[-1]

    yield opening
    for one in every:
        one.context.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["plain", "hostile", "board", "hostile board"])
def test_drawn(opened, pages, name, size):
    """Every section and figure is drawn, no line in the console, no request, nothing wider than the window."""
    one = opened(name, size)
    assert one.said == []
    assert one.asked == [pages[name].as_uri()]
    found = Parsed(pages[name].read_text(encoding="utf-8"))
    for section in found.sections:
        assert one.page.locator(f"section#{section}").is_visible()
    for figure in found.data["figures"]:
        assert one.page.locator(f"[data-figure={figure}] svg").count() > 0
    assert one.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert one.page.evaluate("window.taken") is None


def test_tooltips_are_text(opened):
    """What stands beside a mark under the pointer is text, whatever it holds."""
    one = opened("hostile")
    one.page.locator("[data-figure=levels] .role-mark.mark-symbol path").first.hover(force=True)
    tooltip = one.page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    assert MARKUP[:40] in one.page.locator("#vg-tooltip-element").inner_text()
    assert tooltip.locator("img, script").count() == 0
    assert one.page.evaluate("window.taken") is None


def test_sorting(opened):
    """A heading sorts: largest first, then smallest; by pointer and by keyboard; screen readers are told."""
    one = opened()
    table = "[data-table=cells]"
    heading = one.page.locator(f"{table} th button", has_text="Acc")
    heading.click()
    percents = [float(text.removesuffix(" %")) for text in one.column(table, 4)]
    assert percents == sorted(percents, reverse=True)
    assert one.page.locator(f"{table} th[aria-sort=descending]").count() == 1
    one.page.keyboard.press("Enter")
    assert one.column(table, 4) == [f"{percent:.1f} %" for percent in sorted(percents)]
    assert "smallest first" in one.page.locator("#live").inner_text()


def test_filtering_and_searching(opened):
    """A choice leaves its rows in figures and tables, a search the rows that hold its words."""
    one = opened()
    table = "[data-table=cells]"
    assert set(one.column(table, 0)) == {"sentiment"}
    one.page.locator("section#scorers").get_by_label("Task").select_option("ner")
    assert set(one.column(table, 0)) == {"ner"}
    one.page.locator(f"{table} select").first.select_option("degrade")
    assert set(one.column(table, 1)) == {"degrade"}
    one.page.locator("section#neurons").get_by_role("searchbox").fill("ner good")
    one.page.locator("#neurons .foot", has_text=" of ").wait_for()
    assert all(row[1] == "ner" and "good" in row for row in one.rows("[data-table=neurons]"))


def test_questions(opened):
    """A question opens below its row: prompt, options, answers before and after; arrow keys go on to the next."""
    one = opened()
    questions = one.page.locator("section#questions")
    questions.get_by_label("Change").select_option(index=1)
    first = questions.locator("button.open").first
    first.focus()
    one.page.keyboard.press("Enter")
    detail = questions.locator(".detail")
    before = detail.inner_text()
    assert "Example" in before
    assert "answer before" in before
    assert detail.locator(".options li").count() >= 2
    assert first.get_attribute("aria-expanded") == "true"
    one.page.keyboard.press("ArrowDown")
    assert detail.count() == 1
    assert detail.inner_text() != before


def test_neurons(opened, pages):
    """A neuron opens with where else it was chosen, its tokens, its values by answer, and the command for the rest."""
    one = opened()
    one.page.locator("section#neurons button.open").first.click()
    name = one.page.locator("section#neurons button.open").first.inner_text()
    detail = one.page.locator("section#neurons .detail")
    assert f"neuron-antagonism neuron show {name} run" in detail.inner_text()
    (told,) = Parsed(pages["plain"].read_text(encoding="utf-8")).data["described"]
    for side, (places, _) in zip(("Promotes", "Suppresses"), told["tokens"][name], strict=True):
        assert detail.get_by_role("list", name=side).locator("bdi").all_inner_texts() == [
            told["texts"][place] for place in places
        ]
    (task, *_) = (own for own in told["tasks"] if name in own["values"])
    table = detail.get_by_role("region", name=f"Values by right answer, {task['task']}")
    lines = [line.locator("th, td").all_inner_texts() for line in table.locator("tbody tr:not(.group)").all()]
    assert [(line[0], int(line[1])) for line in lines] == [(name, n) for _, name, n in task["groups"]]
    step, means, stds = task["values"][name]
    for line, *figures in zip(lines, means, stds, strict=True):
        shown = [float(text.replace("−", "-")) for text in line[2].split(" ± ")]
        assert shown == pytest.approx([step * n for n in figures], abs=10 * step)
    # a bar lies where its figures say
    zero, within, mark = (table.locator(f"tbody .{part}").first.bounding_box() for part in ("zero", "within", "mean"))
    assert within["x"] - 2 <= mark["x"] <= within["x"] + within["width"] + 2
    assert (mark["x"] > zero["x"]) == (means[0] > 0)


def test_tokens_are_text(opened):
    """Tokens and options with markup, control characters and other directions are text; nothing is wider for them."""
    one = opened("hostile", "narrow")
    one.page.locator("section#neurons button.open").first.click()
    detail = one.page.locator("section#neurons .detail")
    texts = detail.get_by_role("list", name="Promotes").locator("bdi").all_inner_texts()
    assert texts[0].startswith("'</script><script>")
    assert texts[1:4] == [r"'\x00\x1b[31m'", "'  spaced'", r"'\u202eabc'"]
    assert detail.locator("script, img").count() == 0
    assert one.page.evaluate("window.taken") is None
    assert one.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert one.said == []


@pytest.mark.parametrize(
    ("name", "says", "says_not"), [("residual", "No tokens: ", "Promotes"), ("bare", "told by:", "Values")]
)
def test_without_tokens(opened, name, says, says_not):
    """Units that write no tokens are said to; of a run without descriptions nothing is shown but the command."""
    one = opened(name)
    one.page.locator("section#neurons button.open").first.click()
    detail = one.page.locator("section#neurons .detail").inner_text()
    assert says in detail
    assert says_not not in detail
    assert ("Values by right answer" in detail) == (name == "residual")


def test_curves(opened):
    """A line, a band and points for each scorer in each panel, told apart by dashes and shapes too, and the ideal."""
    one = opened("board")
    lines = {"part0-dose": 6, "part0-curves": 10, "part1-pairs": 3}
    for name, points in lines.items():
        figure = one.page.locator(f"[data-figure={name}]")
        for panel in figure.locator(".panel").all():
            drawn = panel.locator(".mark-line path")
            assert drawn.count() == 8
            assert len({path.get_attribute("stroke-dasharray") for path in drawn.all()}) > 3
            assert panel.locator(".mark-symbol.role-mark path").count() == 8 * points
    doses, curves = (one.page.locator(f"[data-figure={name}] .panel") for name in ("part0-dose", "part0-curves"))
    assert [panel.locator(".mark-area path").count() for panel in (*doses.all(), *curves.all())] == [8] * 5
    # f = 1, completeness 0, comprehensiveness none
    ideals = [panel.locator(".mark-rule line[stroke-dasharray]").count() for panel in curves.all()]
    assert ideals == [1, 1, 0]
    ticks = curves.first.locator(".role-axis-label text", has_text="%")
    assert ticks.all_text_contents() == ["0.1%", "1%", "10%", "100%"]
    # on a logarithmic axis the four lie equally far apart
    boxes = [tick.bounding_box() for tick in ticks.all()]
    steps = [b["x"] + b["width"] / 2 - a["x"] - a["width"] / 2 for a, b in pairwise(boxes)]
    assert max(steps) - min(steps) < 8


def test_one_scorer_at_a_time(opened):
    """A choice leaves one scorer's curve, and a point tells its figure and its interval."""
    one = opened("board")
    one.page.locator("section#part0-curve").get_by_role("combobox", name="Scorer").select_option("scorer3")
    panel = one.page.locator("[data-figure=part0-curves] .panel").first
    assert panel.locator(".mark-line path").count() == 1
    panel.locator(".mark-symbol.role-mark path").nth(4).hover(force=True)
    one.page.locator("#vg-tooltip-element.visible").wait_for()
    told = one.page.locator("#vg-tooltip-element").inner_text()
    for part in ("scorer3", "share", "low", "high"):
        assert part in told


def test_theme(opened):
    """Light and dark follow the system or the button; charts change along, and the printer gets light."""
    one = opened(color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    mark = "getComputedStyle(document.querySelector('[data-figure=effects] svg .mark-rule line')).stroke"
    dark = one.page.evaluate(paper), one.page.evaluate(mark)
    button = one.page.locator("#theme")
    assert button.inner_text() == "Theme: auto"
    button.focus()
    one.page.keyboard.press("Enter")
    assert button.inner_text() == "Theme: light"
    light = one.page.evaluate(paper), one.page.evaluate(mark)
    assert light[0] == "rgb(255, 255, 255)"
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    button.click()
    assert (one.page.evaluate(paper), one.page.evaluate(mark)) == dark
    one.page.emulate_media(media="print")
    assert one.page.evaluate(paper) == light[0]


def test_keyboard(opened):
    """The first Tab stop leads past the contents; every control can be reached and has a name."""
    one = opened()
    one.page.keyboard.press("Tab")
    assert one.page.evaluate("document.activeElement.textContent") == "Skip to the answer"
    one.page.keyboard.press("Enter")
    assert one.page.evaluate("document.activeElement.id") == "main"
    unnamed = "[...document.querySelectorAll('select, input')].filter((one) => !one.labels.length).length"
    assert one.page.evaluate(unnamed) == 0
    plots = "[...document.querySelectorAll('.plot')].filter((one) => !one.getAttribute('aria-label')).length"
    assert one.page.evaluate(plots) == 0


def test_opens_at_once(opened):
    """4 tasks x 8 scorers x 300 examples, of a model of 352,256 neurons, can be used in under two seconds."""
    assert min(opened("large").seconds for _ in range(2)) < OPENS_IN


def test_without_scripts(opened, browser, pages):
    """A browser that runs no scripts shows the answer and where it comes from."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(pages["plain"].as_uri())
    text = page.locator("main").inner_text()
    assert "Can be turned up and down" in text
    assert "The command that does it again" in text
    context.close()
