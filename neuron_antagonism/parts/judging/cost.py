"""Cost: forwards and tokens that a scorer takes for each question."""

from __future__ import annotations

from dataclasses import replace

from neuron_antagonism.engine.choose import choose
from neuron_antagonism.method.attribute import attribute_each
from neuron_antagonism.model.counting import counted
from neuron_antagonism.parts.judging.bench import Bench, Judge, Row, row

TOKENS = 4096
"""Of a forward: how many there are must not hang on how much memory is free."""


class Cost(Judge):
    """Forwards of the model, and tokens in them, to score the identification questions, by question.

    Each scorer alone: beside others it shares what they have in common. Forwards are those of at most `TOKENS` tokens,
    whatever memory there is. Seconds depend on the machine; they stand in the manifest.
    """

    name = "cost"
    fields = ("budget", "steps")

    def measure(self, at: Bench) -> dict[str, list[Row]]:
        """Attribute once more, and count."""
        questions = [question for example in at.identify for question in example.proxies]
        # the engine's proof is made once a model, not once a scorer
        choose(at.model, [encoded.ids for encoded in at.model.encode_all(questions)])
        rows = {}
        for name, scorer in at.scorers.items():
            with counted(at.model) as count:
                attribute_each(at.model, at.identify, [scorer], replace(at.settings, max_tokens=TOKENS))
            found = {"forwards": count.forwards, "tokens": count.tokens}
            rows[name] = [row(f"cost.{what}", value / len(questions)) for what, value in found.items()]
        return rows
