"""A scorer with passes of its own: a gate for every neuron, learned by gradient descent."""

import torch
from pydantic import Field

import neuron_antagonism as na


class LearnedMask(na.Scorer):
    """How far gradient steps that raise F move a neuron's gate, in log-odds, from ½ of its value at the last position.

    Every layer's gates act at once. A neuron without influence stays where it was, at 0.
    """

    name = "learned-mask"
    roles = ("good", "bad")
    reference = "as masks are learned for circuits, e.g. Louizos et al. 2018; De Cao et al. 2020"

    class Options(na.Options):
        """Options of the descent."""

        target: str = Field(default="log-odds", description="the target F, by name")
        rounds: int = Field(default=8, ge=1, description="gradient steps, at least 1")
        rate: float = Field(default=1.0, gt=0, description="size of a step in the gates' log-odds")

    @property
    def target(self):
        """F."""
        return na.target_of(self.options.target)

    def attribute(self, model, examples, settings):
        """Whole forwards through the model's own hooks: nothing of the core knows of it."""
        questions = [question for example in examples for question in example.proxies]
        encoded = model.encode_all(questions)
        shape = (model.n_layers, model.units(settings.site))
        pairs = zip(questions, encoded, strict=True)
        per_question = torch.stack([self._moved(model, q, e, shape, settings) for q, e in pairs])
        return na.Attribution.of_questions(
            per_question,
            examples,
            scorer=self.name,
            options=self.options.model_dump(),
            target=self.options.target,
            site=settings.site,
        )

    def _moved(self, model, question, encoded, shape, settings):
        gates = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
        letters, answer = torch.tensor([encoded.letters]), torch.tensor([question.answer])

        def gated(values, layer):
            last = values[:, -1:] * gates[layer].sigmoid().to(values)
            return torch.cat([values[:, :-1], last], dim=1)

        for _ in range(self.options.rounds):
            with torch.enable_grad(), model.writing(range(model.n_layers), gated, settings.site):
                f = self.target(model.last_logits([encoded.ids]), letters, answer)
                (gradient,) = torch.autograd.grad(f.sum(), gates)
            with torch.no_grad():
                gates += self.options.rate * gradient
        return gates.detach()


@na.hookimpl
def neuron_antagonism_scorers():
    """Register the scorer."""
    return [LearnedMask]
