"""Well-known multiple-choice data sets on the Hub by name, each stated by a task file beside this one."""

from __future__ import annotations

from pathlib import Path

import neuron_antagonism as na
from neuron_antagonism_plugins._file_task import FileTask

FOLDER = Path(__file__).with_name("presets")

SOURCES = {
    "mmlu": ("MMLU: exams of 57 subjects", "Hendrycks et al. 2021"),
    "arc-easy": ("ARC-Easy: science questions from school", "Clark et al. 2018"),
    "arc-challenge": ("ARC-Challenge: harder science questions from school", "Clark et al. 2018"),
    "hellaswag": ("HellaSwag: how scenes go on", "Zellers et al. 2019"),
    "openbookqa": ("OpenBookQA: elementary science", "Mihaylov et al. 2018"),
    "piqa": ("PIQA: which of two ways reaches a goal", "Bisk et al. 2020"),
    "winogrande": ("WinoGrande: who or what a sentence is about", "Sakaguchi et al. 2020"),
    "boolq": ("BoolQ: yes-no questions about a passage", "Clark et al. 2019"),
    "sciq": ("SciQ: science questions", "Welbl et al. 2017"),
    "race": ("RACE: questions about a text", "Lai et al. 2017"),
    "mathqa": ("MathQA: word problems", "Amini et al. 2019"),
    "medmcqa": ("MedMCQA: medical entrance exams", "Pal et al. 2022"),
    "truthfulqa-mc1": ("TruthfulQA, MC1: one true answer among popular errors", "Lin et al. 2022"),
    "blimp": ("BLiMP: which of two sentences is well formed", "Warstadt et al. 2020"),
}
"""What each is, and whose."""


class Preset(FileTask):
    """A task file that is shipped."""

    suffixes = ()

    def __init__(self) -> None:
        """Read it; its data is on the Hub, and is read by `examples`."""
        super().__init__(FOLDER / f"{type(self).name}.yaml")


def _preset(name: str, summary: str, reference: str) -> type[Preset]:
    doc = f"""{summary}.

    Stated by presets/{name}.yaml; `--data {name}=EVAL[,TRAIN]` reads other files of that shape."""
    return type(name, (Preset,), {"name": name, "reference": reference, "__doc__": doc, "__module__": __name__})


PRESETS = [_preset(name, *source) for name, source in SOURCES.items()]


@na.hookimpl
def neuron_antagonism_tasks() -> list[type[na.Task]]:
    """Register them."""
    return list(PRESETS)
