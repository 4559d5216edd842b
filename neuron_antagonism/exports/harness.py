"""A run's questions as a task of lm-evaluation-harness, so that anyone can check its accuracy with that program."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from neuron_antagonism import demo
from neuron_antagonism.errors import UsageError
from neuron_antagonism.files import file_name, homed
from neuron_antagonism.model.gguf import opened
from neuron_antagonism.suites.choose import chosen_task
from neuron_antagonism.suites.result import RunResult
from neuron_antagonism.types import Question

QUESTIONS = "questions.jsonl"


def write_task(folder: Path, result: RunResult, task: str | None, *, trust_remote_code: bool = False) -> dict[str, Any]:
    """Write a YAML file and the evaluation questions, one JSON object a line.

    A choice is a letter after what stands between it and the prompt where the run's model was read, so that lm-eval
    compares the same tokens.

    Args:
        folder: an empty directory.
        result: the run.
        task: which of its tasks; None = the only one.
        trust_remote_code: whether the command lets the model's own Python code run, whatever the run was allowed.

    Returns:
        The task's name, the run's own accuracies on these questions by edit, and the command that measures them.

    Raises:
        UsageError: an open choice, or a run whose questions lm-eval would ask otherwise.
    """
    task = chosen_task(result, task)
    config = result.manifest["config"]
    _check(config)
    name = f"neuron_antagonism_{file_name(task)}"
    lines = list(_lines(result, task))
    (folder / QUESTIONS).write_text("".join(lines), encoding="utf-8")
    command = _command(name, config, result.manifest["model"]["dtype"], trust=trust_remote_code)
    (folder / f"{name}.yaml").write_text(_yaml(name, command), encoding="utf-8")
    return {"task": task, "questions": len(lines), "accuracies": _accuracies(result, task), "command": command}


def _check(config: Mapping[str, Any]) -> None:
    if config["form"] != "letters":
        raise UsageError(
            "the run asks in words, of which it compares first tokens and lm-eval whole options; accepted by lm-eval: "
            "a run by letters"
        )
    if config["quantize"]:
        raise UsageError(
            f"the run quantizes its weights ({config['quantize']}), which lm-eval's command line can't ask for; "
            "accepted by lm-eval: a run without --quantize"
        )
    if config["chat_template"]:
        raise UsageError(
            "the run puts its prompts into a chat template, which lm-eval fills in its own way; accepted by lm-eval: "
            "a run without --chat-template"
        )


def _lines(result: RunResult, task: str) -> Iterator[str]:
    for number, example in enumerate(result.splits[task].evaluate):
        for proxy, question in enumerate(example.proxies):
            between = _between(question, result.readings[task])
            row = {
                "prompt": question.prompt,
                "choices": [between + letter for letter in question.letters],
                "answer": question.answer,
                "options": list(question.options),
                "example": number,
                "proxy": proxy,
            }
            yield json.dumps(row, ensure_ascii=False) + "\n"


def _between(question: Question, readings: Mapping[tuple[str, tuple[str, ...]], str]) -> str:
    """What stands between a prompt and a letter, as the run's model chose for prompts that end so."""
    fitting = [key for key in readings if question.prompt.endswith(key[0]) and key[1] == question.letters]
    if not fitting:
        raise UsageError(
            f"the run does not say where the answer to a prompt that ends with {question.prompt[-20:]!r} is read; "
            "accepted by lm-eval: a run whose files are whole"
        )
    return readings[max(fitting, key=lambda key: len(key[0]))]


def _accuracies(result: RunResult, task: str) -> dict[str, float]:
    of_task = result.results["tasks"][task]
    edited = {f"{row['scorer']} {row['mode']}": row["acc_after"] for row in of_task["at_all"]}
    return {"unedited": of_task["before"]["acc"], **edited}


def _command(name: str, config: Mapping[str, Any], dtype: str, *, trust: bool) -> str:
    asked = homed(config["model"])
    base = str(demo.directory()) if asked == "demo" else opened(asked, config["revision"])
    given = {
        "pretrained": _from_elsewhere(base),
        "dtype": dtype,
        "revision": config["revision"],
        "peft": None if config["adapter"] is None else _from_elsewhere(config["adapter"]),
        "trust_remote_code": trust or None,
        # its way to say that the blocks are spread
        "parallelize": None if config["device_map"] is None else True,
    }
    for key, value in given.items():
        # what follows would be an argument of its own
        if "," in str(value):
            raise UsageError(
                f"{key} is {value!r}, and lm-eval takes a comma for the end of an argument; accepted by lm-eval: "
                "names and paths without one"
            )
    args = ",".join(f"{key}={value}" for key, value in given.items() if value is not None)
    return f"lm_eval --model hf --model_args {shlex.quote(args)} --tasks {name} --include_path ."


def _from_elsewhere(name: str) -> str:
    """A name as it is known in another directory: the command is for that of the questions."""
    path = Path(homed(name))
    return str(path.absolute()) if path.exists() else name


def _yaml(name: str, command: str) -> str:
    import yaml

    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": QUESTIONS}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "prompt",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "target_delimiter": "",
        "num_fewshot": 0,
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }
    # a name may hold line breaks, after which it would be no comment
    lines = ["in this directory, where data_files looks:", *(f"  {line}" for line in command.splitlines())]
    head = "".join(f"# {line}\n" for line in lines)
    return head + yaml.safe_dump(task, sort_keys=False, allow_unicode=True)
