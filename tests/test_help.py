"""Help in panels, and completion by the shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from neuron_antagonism.cli.app import app
from neuron_antagonism.cli.options import SHOWN, flag_of
from neuron_antagonism.runs.config import RunConfig

PANELS = (
    "What is measured",
    "The model",
    "Data and tasks",
    "Where it is kept and carried out",
    "Output",
)
PROGRAM = (
    "import sys; sys.argv = ['neuron-antagonism', *sys.argv[1:]]; from neuron_antagonism.cli.app import main; main()"
)


@pytest.mark.parametrize("command", ["run", "bench"])
def test_every_option_has_its_panel(command):
    """Each option of the long commands is in one of five panels, which come in one order."""
    parameters = get_command(app).commands[command].params  # type: ignore[attr-defined]
    panels = [parameter.rich_help_panel for parameter in parameters]
    assert list(dict.fromkeys(panels)) == list(PANELS)


def test_the_help_shows_the_panels():
    """They are headings, in that order, at 80 columns."""
    words = [sys.executable, "-c", PROGRAM, "run", "--help"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "80"})
    places = [shown.stdout.index(f" {panel} ") for panel in PANELS]
    assert places == sorted(places)
    assert max(map(len, shown.stdout.splitlines())) <= 80


def completed(tmp_path: Path, words: str) -> list[str]:
    """What bash would offer after some words."""
    asked = {"_NEURON_ANTAGONISM_COMPLETE": "complete_bash", "COMP_WORDS": f"neuron-antagonism {words}"}
    environment = {**os.environ, **asked, "COMP_CWORD": str(len(words.split()))}
    program = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_a_shell_completes_commands_and_options(tmp_path):
    """Commands, those of a group, and a command's options."""
    assert completed(tmp_path, "ta") == ["tasks"]
    assert completed(tmp_path, "neuron sh") == ["show"]
    assert completed(tmp_path, "run --prot") == ["--protocols"]


def test_the_script_for_a_shell(tmp_path):
    """`--install-completion` writes below the home directory alone; `--show-completion` prints what it would write."""
    environment = {**os.environ, "HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}

    def called(option: str) -> str:
        words = [sys.executable, "-c", PROGRAM, option, "bash"]
        return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout

    script = called("--show-completion")
    assert "_NEURON_ANTAGONISM_COMPLETE=complete_bash" in script
    assert "installed" in called("--install-completion")
    written = [file.read_text() for file in tmp_path.rglob("*.sh")]
    assert [one.strip() for one in written] == [script.strip()]


def test_an_option_of_a_run_is_stated_once():
    """Every field of `RunConfig` that a word can state is an option, and its default is read from there."""
    others = {"data", "options", "stratified", "protocols", "random_draws"}
    assert SHOWN.keys() == RunConfig.model_fields.keys() - others
    parameters = {parameter.name: parameter for parameter in get_command(app).commands["run"].params}  # type: ignore[attr-defined]
    for field in SHOWN:
        default, parameter = RunConfig.model_fields[field].default, parameters[field]
        assert flag_of(field) in parameter.opts
        # what was not given is left to a run file, and then to the field
        assert parameter.default is None
        if isinstance(default, int | str) and not isinstance(default, bool):
            assert f"Default: {'--model' if field == 'reference' else default}." in parameter.help
