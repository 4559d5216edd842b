"""Direct logit attribution: what each neuron itself writes towards the right letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import neuron_antagonism as na

if TYPE_CHECKING:
    from torch import Tensor


class Direct(na.Scorer):
    """Mean over the questions of a_i · W_out[i] · (U_right − mean U_wrong) at the last position, the last norm frozen.

    W_out[i] goes through the last norm as a linear map: its weight, LayerNorm's centring, and the scale that it has at
    the question itself. A norm behind the FFN (Gemma 2 and 3, OLMo 2) is frozen likewise, and a residual multiplier
    (Granite) multiplies. The scores of all neurons, and what embeddings, attention and biases write, sum to the
    difference of the letters' logits: those that the unembedding gives, before a logit scale or softcap behind it. What
    a neuron does by way of later blocks is left out: that is what `ablation` holds beside it.

    Proved on the model at hand, or refused: that changes of the neurons move the final residual stream by what they
    write and nothing else (two forwards of 24 tokens), and at each question that the frozen map gives the model's own
    difference. An example score is the sum over its questions, in logits. One forward a question, no gradient.
    """

    name = "direct"
    target = None
    reference = (
        "direct logit attribution: Elhage et al. 2021 (A Mathematical Framework for Transformer Circuits), "
        "nostalgebraist 2020 (logit lens); frozen norm as in Wang et al. 2022 (arXiv 2211.00593)"
    )

    class Options(na.Options):
        """No options."""

    def check(self, model: na.HookedModel, examples: Sequence[na.Example], site: str) -> None:
        """Only FFN neurons have output weights."""
        if site != "post":
            raise na.UsageError(
                f"scorer {self.name!r} at site {site!r}; accepted: 'post', whose units have output weights"
            )

    def attribute(self, model: na.HookedModel, examples: Sequence[na.Example], settings: na.Settings) -> na.Attribution:
        """The proof, then a prompt at a time."""
        import torch

        from neuron_antagonism_plugins._paths import Paths

        if model.is_edited:
            raise na.UsageError(f"scorer {self.name!r} inside model.edited(); accepted: outside, of the unedited model")
        questions = [question for example in examples for question in example.proxies]
        encoded = model.encode_all(questions)
        paths = Paths(model, max((one.ids for one in encoded), key=len))
        values: list[list[Tensor]] = []
        directions: list[list[Tensor]] = []
        for done, (question, one) in enumerate(zip(questions, encoded, strict=True), start=1):
            end, own = paths.ending(one.ids)
            along = paths.direction(end, one.letters, question.answer)
            values.append([value.cpu() for value in own])
            directions.append([paths.before_ffn(layer, along, value) for layer, value in enumerate(own)])
            if settings.progress is not None:
                settings.progress("values", done, len(questions))
        parts = []
        for layer in range(model.n_layers):
            written = model.output_weights(layer).cpu()
            along = torch.stack([one[layer] for one in directions]).to(written.dtype)
            parts.append(torch.stack([one[layer] for one in values]).to(written.dtype) * (along @ written.T))
        found = torch.stack(parts, dim=1)
        return na.Attribution.of_questions(
            found,
            examples,
            scorer=self.name,
            options=self.options.model_dump(mode="json"),
            site=settings.site,
        )


@na.hookimpl
def neuron_antagonism_scorers() -> list[type[na.Scorer]]:
    """Register the scorer."""
    return [Direct]
