"""Many variants of a prompt's last token after one shared prefix.

Whatever an edit or an integration step changes at the last position, by causality nothing before it moves. So the
prefix is computed once, and the variants of the last token are run together: side by side in one sequence under a
mask that lets each see the prefix and itself ("replay"), or as rows of a batch ("rows"). Prompts of one batch have
equal length, so nothing is padded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from neuron_antagonism.model.hooked import HookedModel, Write

KINDS = ("replay", "rows")


class Copies:
    """Copies of the last token of equally long prompts (at least two tokens), run from a cached prefix.

    Args:
        model: the model.
        prompts: token ids of each prompt, all of one length.
        kind: "replay" or "rows".
    """

    def __init__(self, model: HookedModel, prompts: Sequence[Sequence[int]], kind: str) -> None:
        """Run the prefixes once and keep their keys and values."""
        from transformers import DynamicCache

        self.model = model
        self.kind = kind
        self.ids = torch.tensor(prompts, device=model.device)
        # a bare cache: one made from the config truncates sliding-window layers and can't be replayed
        cache = DynamicCache()
        with torch.no_grad():
            model.forward(self.ids[:, :-1], past_key_values=cache, use_cache=True, **model.keep_last)
        layers: list[Any] = cache.layers
        self._kv: list[tuple[Tensor, Tensor]] = [(layer.keys, layer.values) for layer in layers]

    def logits(self, n: int, write: Write, site: str = "post") -> Float[Tensor, "prompt copy vocab"]:
        """Logits of `n` copies per prompt, float32 or wider.

        Args:
            n: copies per prompt.
            write: gets each layer's values as [prompt, copy, neuron] and returns the new ones.
            site: where it reads and writes.
        """
        run = self._replay if self.kind == "replay" else self._rows
        return self.model.checked(run(n, write, site))

    def _replay(self, n: int, write: Write, site: str) -> Tensor:
        prompts, length = self.ids.shape
        position = torch.full((prompts, n), length - 1, device=self.ids.device)
        with self.model.writing(range(self.model.n_layers), write, site):
            return self.model.forward(
                self.ids[:, -1:].expand(prompts, n),
                past_key_values=_cache(self._kv),
                use_cache=True,
                attention_mask=copies_mask(self.model, prompts, length - 1, n),
                position_ids=position,
            )

    def _rows(self, n: int, write: Write, site: str) -> Tensor:
        prompts, length = self.ids.shape

        def rows(values: Tensor, layer: int) -> Tensor:
            return write(values.reshape(prompts, n, -1), layer).reshape(values.shape)

        kv = [(k.repeat_interleave(n, 0), v.repeat_interleave(n, 0)) for k, v in self._kv]
        mask = torch.ones(prompts * n, length, dtype=torch.long, device=self.ids.device)
        with self.model.writing(range(self.model.n_layers), rows, site):
            logits = self.model.forward(
                self.ids[:, -1:].repeat_interleave(n, 0),
                past_key_values=_cache(kv),
                use_cache=True,
                attention_mask=mask,
            )
        return logits.reshape(prompts, n, -1)


def copies_mask(model: HookedModel, prompts: int, prefix: int, n: int) -> Tensor | dict[str, Tensor]:
    """The additive 4-D mask under which each copy sees the prefix and itself; by layer type where these differ."""
    config = model.bridge.original_model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or [])
    full = _mask(model, prompts, prefix, n, None)
    if window is None or not bool(getattr(config, "use_sliding_window", True)):
        return full
    windowed = _mask(model, prompts, prefix, n, window)
    if not kinds:
        return windowed
    named: dict[str, Tensor] = {kind: windowed if "sliding" in kind else full for kind in kinds}
    # models with a single kind of layer take the plain tensor
    return named if len(kinds) > 1 else next(iter(named.values()))


def _mask(model: HookedModel, prompts: int, prefix: int, n: int, window: int | None) -> Tensor:
    seen = torch.zeros(n, prefix + n, dtype=torch.bool, device=model.device)
    seen[:, max(0, prefix + 1 - window) if window is not None else 0 : prefix] = True
    seen[:, prefix:] = torch.eye(n, dtype=torch.bool, device=model.device)
    mask = torch.zeros(seen.shape, dtype=model.dtype, device=model.device)
    return mask.masked_fill(~seen, torch.finfo(model.dtype).min).expand(prompts, 1, n, prefix + n)


def _cache(kv: Sequence[tuple[Any, Any]]) -> Any:
    from transformers import DynamicCache

    return DynamicCache(kv)
