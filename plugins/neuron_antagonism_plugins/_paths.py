"""The direct path from FFN neurons through the residual stream to the letters: proved, then taken as a linear map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import neuron_antagonism as na
from neuron_antagonism_plugins._frozen import Frozen, called

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

ATTENTION = "blocks.{}.attn.o.hook_out"
"""The output projection's: some attention modules add the residual stream to it themselves."""
PROBE = 24
"""Tokens on which the path is proved."""
EXACT = 1e-3
"""A multiplier that is solved for is 1 if it is no further from it than this, also in half precision."""
ACCEPTED = (
    "models whose FFNs add to a residual stream, which an RMS norm, a LayerNorm or nothing, and a linear unembedding "
    "turn into logits"
)


@dataclass(frozen=True)
class Ending:
    """What is seen at the end of a model at one prompt's last position, float64 on the CPU.

    Attributes:
        residual: the final residual stream.
        normed: what the unembedding takes in.
        logits: what the unembedding gives, before any scale or softcap behind it.
    """

    residual: Float[Tensor, " width"]
    normed: Float[Tensor, " width"]
    logits: Float[Tensor, " vocab"]


class Paths:
    """A model's direct paths, proved on the beginning of a prompt in two forwards.

    With all attention outputs and all neurons' values held at what they were, random changes of the neurons in all
    blocks at once must move the final residual stream by Σ_l κ_l · (P_l(o_l + Δ_l) − P_l(o_l)): o_l is what the FFN of
    block l writes, P_l the norm behind it where there is one, and κ_l what is solved for: 1, or one residual multiplier
    in all blocks.

    Attributes:
        posts: by layer the norm behind the FFN.
        multiplier: κ.
        final: the last norm.

    Raises:
        ModelError: something else moves the residual stream, or its parts are not found.
    """

    def __init__(self, model: na.HookedModel, ids: Sequence[int]) -> None:
        """Prove them."""
        import torch

        self.model = model
        self.bound = model.proofs["logits"].bound if "logits" in model.proofs else 1e-4
        self.head: Any = model.bridge.original_model.get_output_embeddings()
        weight = getattr(self.head, "weight", None)
        hooks = model.bridge.hook_dict
        if not isinstance(weight, torch.Tensor) or not weight.dtype.is_floating_point or weight.is_meta:
            raise self._refused("its unembedding has no weight that can be read")
        if any(ATTENTION.format(layer) not in hooks for layer in range(model.n_layers)):
            raise self._refused("its attention's output is not found in every block")
        like = torch.empty(model.width, dtype=model.dtype, device=weight.device)
        blocks = list(model.bridge.blocks)
        with model.computing():
            self.final = Frozen.of(getattr(model.bridge, "ln_final", None), like)
            self.posts = [Frozen.of(getattr(block, "ln2_post", None), like) for block in blocks]
            self._like = like
            self.multiplier = self._proved(list(ids)[:PROBE])

    def ending(self, ids: Sequence[int]) -> tuple[Ending, list[Float[Tensor, " neuron"]]]:
        """One forward: what is seen at its end, and all neurons' values, at the last position."""
        values: dict[int, Tensor] = {}

        def read(found: Tensor, layer: int) -> Tensor:
            values[layer] = found[0, -1].detach()
            return found

        with self._watched() as seen, self.model.writing(range(self.model.n_layers), read):
            self._forward(ids)
        last = {name: found[0, -1].double().cpu() for name, found in seen.items()}
        return Ending(**last), [values[layer] for layer in range(self.model.n_layers)]

    def direction(self, end: Ending, letters: Sequence[int], answer: int) -> Float[Tensor, " width"]:
        """Along which the residual stream's entries add to logit(right) − mean logit(wrong), the last norm frozen.

        Raises:
            ModelError: the frozen map does not give the model's own difference.
        """
        import torch

        if end.normed.shape != end.residual.shape:
            raise self._refused(f"its unembedding takes {len(end.normed)} entries of {len(end.residual)}")
        weights = torch.full((len(letters),), -1 / (len(letters) - 1), dtype=torch.float64)
        weights[answer] = 1
        rows = self.head.weight.detach()[list(letters)].double().cpu()
        bias = getattr(self.head, "bias", None)
        constant = 0.0 if bias is None else float(bias.detach()[list(letters)].double().cpu() @ weights)
        unembedded = weights @ rows
        scale = self.final.scale(end.residual, end.normed)
        found = self.final.before(unembedded, scale)
        own = end.logits[list(letters)]
        ours = float(found @ end.residual + self.final.shift @ unembedded) + constant
        theirs = float(own @ weights)
        # what the difference is summed from, which it may be much smaller than
        size = float((found * end.residual).abs().sum()) / len(found) ** 0.5 + float(own.abs().max())
        if not abs(ours - theirs) <= self.bound * size:
            raise self._refused(
                f"its last norm, frozen, and its unembedding give the letters a difference of {ours:.6g}, the model "
                f"{theirs:.6g}"
            )
        return found

    def before_ffn(
        self, layer: int, direction: Float[Tensor, " width"], values: Float[Tensor, " neuron"]
    ) -> Float[Tensor, " width"]:
        """The same direction in what a block's FFN writes, the norm behind it frozen where there is one.

        Raises:
            ModelError: the frozen norm does not give what the norm gives.
        """
        post = self.posts[layer]
        direction = self.multiplier * direction
        if post.norm is None:
            return direction
        output = self.model.ffn_output(layer, values[None])
        with self.model.computing():
            (normed,) = called(post.norm, output, self._like)
        given = output[0].double().cpu()
        if not (error := post.error(given, normed)) <= self.bound:
            raise self._refused(f"the norm behind its FFN in block {layer} is none that can be frozen, by {error:.1e}")
        return post.before(direction, post.scale(given, normed))

    def _proved(self, ids: list[int]) -> float:
        import torch

        model, layers = self.model, range(self.model.n_layers)
        clean: dict[int, Tensor] = {}
        attention: dict[str, Tensor] = {}
        changed: dict[int, Tensor] = {}
        generator = torch.Generator().manual_seed(0)

        def read(values: Tensor, layer: int) -> Tensor:
            clean[layer] = values.detach()
            return values

        def change(values: Tensor, layer: int) -> Tensor:
            own = clean[layer]
            size = own.double().square().mean().sqrt().to(own)
            noise = torch.randn(own.shape, generator=generator, dtype=torch.float64)
            changed[layer] = own + size * noise.to(own)
            return changed[layer]

        def keep(found: Tensor, hook: Any) -> Tensor:
            attention[hook.name] = found.detach()
            return found

        def restore(found: Tensor, hook: Any) -> Tensor:
            return attention[hook.name]

        before = self._residual(ids, keep, read)
        if before.shape[-1] != model.width:
            raise self._refused(f"its final residual stream has {before.shape[-1]} entries, its blocks {model.width}")
        after = self._residual(ids, restore, change)
        terms = []
        for layer in layers:
            outputs = [model.ffn_output(layer, values[0]) for values in (clean[layer], changed[layer])]
            post = self.posts[layer].norm
            pair = [one.double().cpu() if post is None else called(post, one, self._like) for one in outputs]
            terms.append(pair[1] - pair[0])
        moved = after - before
        # an entry of the stream is rounded by what it is large by: one that is huge says little of the others
        usual = torch.maximum(after.abs(), before.abs()).clamp_min(float(moved.square().mean().sqrt()))
        columns = torch.stack([(term / usual).flatten() for term in terms], dim=1)
        wanted = (moved / usual).flatten()
        found = torch.linalg.lstsq(columns, wanted[:, None]).solution[:, 0]
        left = float((wanted - columns @ found).square().mean().sqrt())
        if not left <= self.bound:
            raise self._refused(
                f"its FFNs move the final residual stream otherwise than by what they write ({left:.1e})"
            )
        together = columns.sum(1)
        multiplier = float(together @ wanted / (together @ together))
        # what is left over blurs the size of a block that writes little
        blur = left / columns.norm(dim=0).clamp_min(1e-300)
        if bool(((found - multiplier).abs() > self.bound * abs(multiplier) + 4 * blur).any()):
            shown = ", ".join(f"{one:.3g}" for one in found.tolist())
            raise self._refused(f"its FFNs reach the final residual stream at different sizes ({shown})")
        return 1.0 if abs(multiplier - 1) <= min(self.bound, EXACT) else multiplier

    def _residual(
        self, ids: Sequence[int], attention: Callable[[Any, Any], Any], write: Callable[[Any, int], Any]
    ) -> Float[Tensor, "position width"]:
        """The final residual stream of one forward."""
        layers = range(self.model.n_layers)
        hooks = [(ATTENTION.format(layer), attention) for layer in layers]
        with self.model.bridge.hooks(fwd_hooks=hooks), self._watched() as seen, self.model.writing(layers, write):
            self._forward(ids, whole=True)
        return seen["residual"][0].double().cpu()

    def _forward(self, ids: Sequence[int], *, whole: bool = False) -> None:
        import torch

        keep = {} if whole else self.model.keep_last
        with torch.no_grad():
            self.model.forward(torch.tensor([list(ids)], device=self.model.device), **keep)

    @contextmanager
    def _watched(self) -> Iterator[dict[str, Tensor]]:
        """Within the context a forward leaves here what the last norm takes in, and the unembedding takes and gives."""
        seen: dict[str, Tensor] = {}
        norm = self.final.norm

        def before(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen["residual"] = (args[0] if args else next(iter(kwargs.values()))).detach()

        def after(module: Any, args: tuple[Any, ...], output: Tensor) -> None:
            seen["normed"], seen["logits"] = args[0].detach(), output.detach()
            if norm is None:
                seen["residual"] = seen["normed"]

        with ExitStack() as stack:
            if norm is not None:
                stack.callback(norm.register_forward_pre_hook(before, with_kwargs=True).remove)
            stack.callback(self.head.register_forward_hook(after).remove)
            yield seen

    def _refused(self, why: str) -> na.ModelError:
        model = self.model
        return na.ModelError(f"{model.name} ({model.architecture}), scorer 'direct': {why}; accepted: {ACCEPTED}")
