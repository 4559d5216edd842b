"""Task files of lm-evaluation-harness: the fields that state a multiple-choice task without code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

import neuron_antagonism as na
from neuron_antagonism_plugins._cells import distinct
from neuron_antagonism_plugins._files import listed, malformed
from neuron_antagonism_plugins._listed import are_labels
from neuron_antagonism_plugins._rendered import ACCEPTED, check_template
from neuron_antagonism_plugins._schema import LEAST, Spec, Text, Where

LOCAL = ("json", "csv", "parquet")
"""What dataset_path says of files of one's own."""

MARKS = ("dataset_path", "doc_to_text", "doc_to_choice", "doc_to_target", "output_type", "include", "process_docs")
"""Fields that tell such a file from a task file of this package."""

CODE = {
    **dict.fromkeys(("process_docs", "process_results", "custom_dataset", "class", "unsafe_code"), "is code"),
    "include": "leads to another file",
    "use_prompt": "leads to prompts of another package",
    "filter_list": "is for answers that a model writes out",
    "generation_kwargs": "is for answers that a model writes out",
}
"""Why fields of theirs are not read."""

PROMPT = "prompt"
"""The name by which items keep the whole prompt of the data set's own wording."""

ROLE = str(Spec.model_fields["role"].default)

_TEMPLATE = f"{ACCEPTED}, or a value that is the same for every row"
_STEMS = ("{text}", "{text}\nWhich option is right?", "{text}\nChoose the right option.")
_STEMS_OF_NOTHING = ("Which option is right?", "Choose the right option.", "Which of these is right?")


def _files(value: Any) -> Any:
    """Files by the split that they are; `datasets` calls what has no name train."""
    if isinstance(value, str | list):
        value = {"train": value}
    if isinstance(value, dict):
        value = {name: [one] if isinstance(one, str) else one for name, one in value.items()}
    return value


def _texts(value: Any) -> Any:
    """A list of options as texts: a 1 is an option too."""
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return value
    return [str(one) if isinstance(one, int | float) and not isinstance(one, bool) else one for one in value]


class DatasetArguments(na.Options):
    """Where rows of one's own are."""

    data_files: Annotated[dict[str, Annotated[tuple[Text, ...], Field(min_length=1)]], BeforeValidator(_files)] = Field(
        default_factory=dict, description="a file, relative to the task file, or files by split"
    )
    trust_remote_code: Literal[False] = Field(default=False, description="false: code is not run")


class Fewshot(na.Options):
    """What is shown answered."""

    sampler: Text = Field(default="default", description="not used: one example is shown, the first of these")
    split: Text | None = Field(default=None, description="the split of the example that is shown answered")
    samples: tuple[dict[str, Any], ...] = Field(
        default=(), description="rows, of which the first is shown answered; a list of mappings"
    )


class Harness(na.Options):
    """What such a file states."""

    task: Text | None = Field(default=None, description="the task's name; unset: the file's, without its ending")
    dataset_path: Text = Field(
        description="json, csv or parquet for files of one's own, the id of a data set on the Hub, or a directory"
    )
    dataset_name: Text | None = Field(default=None, description="a configuration of a data set on the Hub")
    dataset_kwargs: DatasetArguments | None = Field(default=None, description="data_files")
    training_split: Text | None = Field(default=None, description="the split of the training part")
    validation_split: Text | None = Field(
        default=None, description="a split: the test part where there is no test_split, else the training part"
    )
    test_split: Text | None = Field(default=None, description="the split of the test part")
    fewshot_split: Text | None = Field(default=None, description="the split of the example that is shown answered")
    fewshot_config: Fewshot | None = Field(default=None, description="split, or samples: rows that are shown answered")
    num_fewshot: int | None = Field(
        default=None, ge=0, description="in words, answered examples; a whole number from 0"
    )
    doc_to_text: str = Field(description=f"{ACCEPTED}; empty: the options are all there is")
    doc_to_choice: Annotated[str | tuple[str, ...], BeforeValidator(_texts)] = Field(
        description=f"{ACCEPTED} that gives a list; or a list of options that are the same for every row"
    )
    doc_to_target: str | int = Field(description=f"{_TEMPLATE}: the index of the right option, from 0, or its text")
    description: str = Field(default="", description="what stands at the head of every prompt, a plain text")
    output_type: Literal["multiple_choice"] = Field(default="multiple_choice", description="multiple_choice")
    task_alias: Any = Field(default=None, description="not used")
    tag: Any = Field(default=None, description="not used")
    metric_list: Any = Field(default=None, description="not used")
    metadata: Any = Field(default=None, description="not used")
    repeats: Any = Field(default=None, description="not used")
    should_decontaminate: Any = Field(default=None, description="not used")
    doc_to_decontamination_query: Any = Field(default=None, description="not used")
    target_delimiter: str = Field(default=" ", description="not used: the model chooses where its answer is read")
    fewshot_delimiter: str = Field(default="\n\n", description="not used")

    @property
    def name(self) -> str | None:
        """The task's name."""
        return self.task

    @property
    def role(self) -> str:
        """The first line of every prompt."""
        return self.description.strip() or ROLE

    @property
    def fixed(self) -> tuple[str, ...]:
        """Options that are the same for every row, where they are."""
        return self.doc_to_choice if isinstance(self.doc_to_choice, tuple) else ()

    @property
    def classes(self) -> tuple[str, ...]:
        """The fixed options, where they say something by themselves."""
        return () if are_labels(self.fixed) else self.fixed

    @property
    def stems(self) -> tuple[str, ...]:
        """The data set's own wording, and two more that ask for an option."""
        return _STEMS if self.doc_to_text else _STEMS_OF_NOTHING

    @property
    def forms(self) -> tuple[str, ...]:
        """How questions can be answered: in words something must lead up to the answer."""
        return ("letters", "words") if self.doc_to_text else ("letters",)

    @property
    def evaluated(self) -> str:
        """The split that is the test part."""
        return self.test_split or self.validation_split or str(self.training_split)

    @property
    def trained(self) -> str | None:
        """The split that is the training part."""
        return next(
            (one for one in (self.training_split, self.validation_split) if one and one != self.evaluated), None
        )

    @property
    def shown(self) -> str | None:
        """The split whose first row is shown answered, where it is a split of its own."""
        stated = (self.fewshot_config.split if self.fewshot_config else None) or self.fewshot_split
        return None if stated in (self.evaluated, self.trained) else stated


def check(spec: Harness, where: Where) -> None:
    """Check what concerns several fields together, and the templates.

    Raises:
        DataError: names the field.
    """
    if not (spec.test_split or spec.validation_split or spec.training_split):
        raise na.DataError(
            f"{where('test_split')}: is missing; accepted: test_split, validation_split or training_split"
        )
    if "{{" in spec.description or "{%" in spec.description:
        raise malformed(where("description"), spec.description, "a plain text: it stands before all questions alike")
    _check_files(spec, where)
    for name in ("doc_to_text", "doc_to_choice", "doc_to_target"):
        stated = getattr(spec, name)
        if isinstance(stated, str):
            check_template(where(name), stated)
    if spec.fixed and len(distinct(spec.fixed)) != len(spec.fixed):
        raise malformed(where("doc_to_choice"), list(spec.fixed), "different options, none of them empty")
    if spec.fixed and len(spec.fixed) < LEAST:
        raise malformed(where("doc_to_choice"), list(spec.fixed), f"at least {LEAST} options")
    if spec.fixed and isinstance(spec.doc_to_target, int) and not 0 <= spec.doc_to_target < len(spec.fixed):
        raise malformed(where("doc_to_target"), spec.doc_to_target, f"an index 0 to {len(spec.fixed) - 1}")


def _check_files(spec: Harness, where: Where) -> None:
    files = spec.dataset_kwargs.data_files if spec.dataset_kwargs else {}
    if (spec.dataset_path in LOCAL) != bool(files):
        wanted = f"dataset_kwargs.data_files with dataset_path {', '.join(LOCAL)}, and with no other"
        raise malformed(where("dataset_path"), spec.dataset_path, wanted)
    remote = [file for of_split in files.values() for file in of_split if "://" in file or "*" in file]
    if remote:
        raise malformed(where("dataset_kwargs", "data_files"), remote[0], "paths of files, without patterns")
    named = {
        "test_split": spec.test_split,
        "validation_split": spec.validation_split,
        "training_split": spec.training_split,
        "fewshot_split": spec.fewshot_split,
    }
    for field, split in named.items():
        if files and split and split not in files:
            raise malformed(where(field), split, f"a split of data_files: {listed(files)}")


def fields(loc: Sequence[str | int]) -> Mapping[str, Any]:
    """The fields of the model at a place in the schema."""
    models: dict[str, type[na.Options]] = {"dataset_kwargs": DatasetArguments, "fewshot_config": Fewshot}
    return models[str(loc[0])].model_fields if loc else Harness.model_fields


def accepted(loc: Sequence[str | int]) -> str:
    """What the field at a place accepts; of a list's or mapping's entry, what that list or mapping does."""
    nested = loc[:1] if loc[0] in ("dataset_kwargs", "fewshot_config") and len(loc) > 1 else ()
    return str(fields(nested)[str(loc[len(nested)])].description)
