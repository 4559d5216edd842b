"""An intervention that learns from activations."""

from pydantic import Field

import neuron_antagonism as na


class Clamp(na.Intervention):
    """Holds each neuron to a percentile of the sizes it takes at the last position of the examples."""

    name = "clamp"

    class Options(na.Options):
        """Options of the clamp."""

        percentile: float = Field(default=50, ge=0, le=100, description="of the neuron's absolute values, 0 to 100")

    def fit(self, model, examples, neurons):
        """Learn one limit for each neuron of the model."""
        import torch

        found = {}

        def read(values, layer):
            found.setdefault(layer, []).append(values[0, -1].abs().float())
            return values

        with torch.no_grad(), model.writing(range(model.n_layers), read):
            for example in examples:
                for question in example.proxies:
                    model.last_logits([model.encode(question).ids])
        fitted = self.with_options()
        share = self.options.percentile / 100
        fitted.limits = torch.stack([torch.stack(found[layer]).quantile(share, dim=0) for layer in sorted(found)])
        fitted.fitted = True
        return fitted

    def edit(self, values, layer, neurons):
        """No value larger than its limit, in either direction."""
        limit = self.limits[layer, neurons].to(values)
        return values.clamp(-limit, limit)


@na.hookimpl
def neuron_antagonism_interventions():
    """Register the intervention."""
    return [Clamp]
