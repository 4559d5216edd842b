"""A task: does the second sentence follow from the first?"""

import csv

import neuron_antagonism as na

LABELS = ("follows", "contradicts", "is open", "is unrelated")
PEOPLE = ("a nurse", "a baker", "a pilot", "a farmer", "a child", "a singer")
PLACES = ("the park", "the kitchen", "the station", "the garden", "the office")


class Nli(na.Task):
    """Natural language inference: how a hypothesis stands to a premise."""

    name = "nli"
    role = "You compare two sentences."
    rule = "Reply with one letter only: A, B, C or D."
    stems = (
        "Premise: {text}\nHypothesis: {hypothesis}\nThe hypothesis",
        "First: {text}\nSecond: {hypothesis}\nThe second one",
        "Given that {text}\nthe claim {hypothesis}",
    )

    def examples(self, source, seed):
        """Yield sentences made here, or the rows premise, hypothesis, label of a TSV file."""
        rows = made() if source is None else read(source)
        for premise, hypothesis, label in rows:
            wrong = tuple(other for other in LABELS if other != label)
            yield na.Item(premise, label, wrong, meta={"hypothesis": hypothesis})


def made():
    """Every person in every place, with a hypothesis of each kind."""
    for who in PEOPLE:
        for where in PLACES:
            other = PLACES[(PLACES.index(where) + 1) % len(PLACES)]
            yield f"{who} sits in {where}", f"{who} is in {where}", "follows"
            yield f"{who} sits in {where}", f"{who} is in {other}", "contradicts"
            yield f"{who} sits in {where}", f"{who} is waiting", "is open"


def read(path):
    """Rows of a file."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            for number, row in enumerate(csv.reader(file, delimiter="\t"), 1):
                if len(row) != 3 or row[2] not in LABELS:
                    accepted = f"premise, hypothesis and one of {', '.join(LABELS)}, separated by tabs"
                    raise na.DataError(f"{path}, line {number}: found {row!r}; accepted: {accepted}")
                yield row
    except OSError as error:
        raise na.DataError(f"{path}: {error.strerror}; accepted: a TSV file") from None


@na.hookimpl
def neuron_antagonism_tasks():
    """Register the task."""
    return [Nli]
