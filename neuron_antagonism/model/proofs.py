"""What loading proves about a model, before anything is computed with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange

from neuron_antagonism.errors import AntagonismError, ModelError
from neuron_antagonism.model.agreement import ROUNDING, Proof, difference
from neuron_antagonism.model.hooked import HookedModel
from neuron_antagonism.model.plain import column, reader
from neuron_antagonism.model.turn import as_evaluated

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

LENGTHS = (24, 64)
"""Tokens of the two probes; the shorter one is the beginning of the longer one."""


@dataclass(frozen=True)
class Given:
    """What the module that the user gave computes by itself, before TransformerLens touches it.

    Attributes:
        ids: the longer probe.
        logits: after each of its tokens.
    """

    ids: Int[Tensor, "1 position"]
    logits: Float[Tensor, "1 position vocab"]


def probe(hf_model: Any, tokenizer: Any, embeddings: int) -> Int[Tensor, "1 position"]:
    """Tokens of every kind, spread over the vocabulary; special ones are left out, for they may mean an image."""
    special = set(getattr(tokenizer, "all_special_ids", None) or ())
    context = getattr(hf_model.config.get_text_config(), "max_position_embeddings", None)
    length = min(LENGTHS[1], context if isinstance(context, int) and context > 0 else LENGTHS[1])
    usable = [i for i in range(embeddings) if i not in special] or list(range(embeddings))
    # a step without a small common factor with the size, so that few tokens repeat
    ids = [usable[(11 + 7919 * at) % len(usable)] for at in range(length)]
    # what accelerate keeps on disk has no device of its own
    places = (parameter.device for parameter in hf_model.parameters())
    where = next((device for device in places if device.type != "meta"), torch.device("cpu"))
    return torch.tensor([ids], device=where)


def given_logits(hf_model: Any, ids: Int[Tensor, "1 position"], name: str) -> Given:
    """The logits of a module in evaluation mode, without autocast.

    Raises:
        ModelError: it can't continue a text.
    """
    try:
        with torch.no_grad(), as_evaluated(hf_model.modules()):
            logits = hf_model(ids, use_cache=False).logits
        if logits.shape[:2] != ids.shape:
            raise ValueError(f"logits of shape {tuple(logits.shape)} for {ids.shape[1]} tokens")
    # whatever a module trips over that is handed a text alone
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{name} ({type(hf_model).__name__}) does not continue a text: {type(error).__name__}: {reason}; accepted: "
            "a causal language model"
        ) from None
    return Given(ids, logits)


def prove(model: HookedModel, given: Given) -> dict[str, Proof]:
    """Everything that loading proves, by name, in the order in which it is looked at; none is left out.

    Each takes one forward of the longer probe, or two.
    """
    found: dict[str, Proof] = {}
    with torch.no_grad(), model.computing():
        state = _State(model, given)
        for name, proof in PROOFS.items():
            if name in SITES and not model.has_site(name):
                continue
            try:
                figure, bound, detail = proof(state)
                accepted = "" if figure <= bound else f"; accepted: {ACCEPTED[name]}"
                found[name] = Proof(name, figure, bound, figure <= bound, detail + accepted)
            # a model may fail in any way at what it was not made for
            except Exception as error:
                line = " ".join(str(error).split())[:300]
                named = line if isinstance(error, AntagonismError) else f"fails: {type(error).__name__}: {line}"
                accepted = "" if "accepted:" in named else f"; accepted: {ACCEPTED[name]}"
                found[name] = Proof(name, float("nan"), 0.0, False, named + accepted)
    return found


def refuse(model: HookedModel) -> None:
    """Raise ModelError for the first thing that does not hold of a model."""
    for proof in model.proofs.values():
        if not proof.holds and proof.name not in SITES:
            about = f"{model.name} ({model.architecture})"
            detail = proof.detail.removeprefix(f"{about}, ")
            raise ModelError(f"{about}, {proof.name}: {detail}")


Found = tuple[float, float, str]
"""Figure, bound, and the figure in words."""


class _State:
    """What several proofs look at, computed once."""

    def __init__(self, model: HookedModel, given: Given) -> None:
        self.model, self.given = model, given
        self.bound = ROUNDING[model.dtype]
        self.values: dict[int, Tensor] = {}

        def read(values: Tensor, layer: int) -> Tensor:
            self.values[layer] = values
            return values

        with model.writing(range(model.n_layers), read):
            self.logits = model.forward(given.ids)


def _finite(state: _State) -> Found:
    """Neither the neurons' values nor the logits are NaN or inf."""
    model = state.model
    # a maximum over values one of which is NaN is NaN
    largest = max((float(values.abs().amax()) for values in state.values.values()), key=lambda x: (x != x, x))
    # what is masked in the vocabulary is -inf
    bad = int((~torch.isfinite(state.logits.amax(-1))).sum()) + int(largest == float("inf") or largest != largest)
    dtype = str(model.dtype).removeprefix("torch.")
    limit = torch.finfo(model.dtype).max
    shown = f"{'some' if bad else 'no'} NaN or inf in {dtype}; largest neuron value {largest:.3g} of {limit:.3g}"
    return float(bad), 0.0, shown


def _logits(state: _State) -> Found:
    """The logits are those of the module that was given, with whatever sits on it."""
    figure = difference(state.logits, state.given.logits)
    return figure, state.bound, f"differ from the given module's own by {figure:.1e} of the largest"


def _neurons(state: _State) -> Found:
    """What is read and written is the input of a dense FFN's output projection, in every block.

    Doubling one value doubles that column of the projection, and nothing of the FFN is left where all are zero.
    """
    model = state.model
    places = []
    for layer in range(model.n_layers):
        _, module = reader(model, layer)
        if module is None:
            raise ModelError(f"layer {layer}: the FFN's output projection is none that was found")
        places.append(module)
    chosen = {layer: int(values[0].abs().sum(0).argmax()) for layer, values in state.values.items()}
    seen: dict[int, tuple[Tensor, Tensor]] = {}
    written: dict[int, Tensor] = {}

    def double(values: Tensor, layer: int) -> Tensor:
        values = values.clone()
        values[..., chosen[layer]] *= 2
        written[layer] = values
        return values

    def watch(layer: int) -> Callable[..., None]:
        def hook(module: Any, args: tuple[Tensor, ...], output: Tensor) -> None:
            seen[layer] = args[0].detach(), output.detach()

        return hook

    handles = [place.register_forward_hook(watch(layer)) for layer, place in enumerate(places)]
    try:
        with model.writing(range(model.n_layers), double):
            model.forward(state.given.ids)
    finally:
        for handle in handles:
            handle.remove()
    worst = 0.0
    for layer, place in enumerate(places):
        taken, gave = seen[layer]
        values = written[layer]
        if taken.shape[-1] != values.shape[-1] or taken.numel() != values.numel():
            raise ModelError(f"block {layer}'s projection takes {tuple(taken.shape)}, not {tuple(values.shape)}")
        # some models run their FFN on one long row of tokens
        worst = max(worst, difference(taken.reshape(values.shape), values))
        undone = taken.clone()
        undone[..., chosen[layer]] /= 2
        written_by = column(place, chosen[layer], taken)
        expected = place(undone) + undone[..., chosen[layer], None] * written_by
        worst = max(worst, difference(gave, expected))
    worst = max(worst, _left_without(state))
    width = f"{model.n_layers} x {model.n_neurons}"
    return worst, state.bound, f"{width} inputs of the FFNs' output projections, off by {worst:.1e}"


def _left_without(state: _State) -> float:
    """How much an FFN's output still depends on the token where all its neurons are zero; one of experts does."""
    model = state.model
    outputs: dict[int, Tensor] = {}
    name = "blocks.{}.hook_mlp_out"
    layers = range(model.n_layers)

    def keep(layer: int) -> Callable[[Tensor, Any], Tensor]:
        def hook(values: Tensor, hook: Any) -> Tensor:
            outputs[layer] = values.detach()
            return values

        return hook

    hooks = [(name.format(layer), keep(layer)) for layer in layers]
    with (
        model.bridge.hooks(fwd_hooks=hooks),
        model.writing(layers, lambda values, layer: torch.zeros_like(values)),
    ):
        model.forward(state.given.ids)
    spread = []
    for layer in layers:
        rows = rearrange(outputs[layer], "... width -> (...) width").double()
        usual = float(state.values[layer].abs().amax().clamp_min(1e-12))
        spread.append(float((rows - rows[:1]).abs().max()) / max(usual, float(rows.abs().max())))
    return max(spread)


def _causal(state: _State) -> Found:
    """A later token, padding, or another prompt of the batch changes nothing earlier."""
    model = state.model
    ids = state.given.ids
    short = min(LENGTHS[0], max(1, ids.shape[1] // 2))
    # the same beginning: once with padding after it, once with other tokens
    both = torch.cat([ids, ids])
    both[0, short:] = 0
    logits = model.forward(both, attention_mask=torch.ones_like(both))
    figure = max(
        difference(logits[0, :short], state.logits[0, :short]),
        difference(logits[1, :short], logits[0, :short]),
        difference(logits[1], state.logits[0]),
    )
    # batches are multiplied in another order than single rows
    bound = 4 * state.bound
    return figure, bound, f"what comes later, pads, or stands beside a prompt changes its logits by {figure:.1e}"


def _restored(state: _State) -> Found:
    """Of what was written to the neurons nothing stayed."""
    model = state.model
    with model.writing(range(model.n_layers), lambda values, layer: torch.zeros_like(values)):
        during = model.forward(state.given.ids)
    after = model.forward(state.given.ids)
    moved = difference(during, state.logits)
    figure = difference(after, state.logits)
    return (
        figure,
        state.bound,
        f"silencing all neurons moves the logits by {moved:.1e}; afterwards {figure:.1e} is left",
    )


def _up(state: _State) -> Found:
    """A value of the site `up` is a factor of the neuron's: doubling one doubles that neuron's, and no other's."""
    model = state.model
    chosen = {layer: int(values[0].abs().sum(0).argmax()) for layer, values in state.values.items()}
    worst = 0.0

    def double(values: Tensor, layer: int) -> Tensor:
        if values.shape[-1] != model.n_neurons:
            raise ModelError(f"block {layer} has {values.shape[-1]} values there and {model.n_neurons} neurons")
        values = values.clone()
        values[..., chosen[layer]] *= 2
        return values

    def compare(values: Tensor, layer: int) -> Tensor:
        nonlocal worst
        expected = state.values[layer].clone()
        expected[..., chosen[layer]] *= 2
        worst = max(worst, difference(values, expected))
        # as if nothing had happened: then the next block can be compared too
        return state.values[layer]

    layers = range(model.n_layers)
    with model.writing(layers, double, "up"), model.writing(layers, compare):
        model.forward(state.given.ids)
    return worst, state.bound, f"{model.n_layers} x {model.n_neurons} factors of the neurons, off by {worst:.1e}"


def _resid_post(state: _State) -> Found:
    """What is written to the site `resid_post` is what the next block, or the last norm, takes in."""
    model = state.model
    written: dict[int, Tensor] = {}
    taken: dict[int, Tensor] = {}

    def double(values: Tensor, layer: int) -> Tensor:
        values = values.clone()
        values[..., layer % values.shape[-1]] *= 2
        written[layer] = values
        return values

    def watch(layer: int) -> Callable[..., None]:
        def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            taken[layer] = (args[0] if args else kwargs["hidden_states"]).detach()

        return hook

    # what takes in the last block's output is no norm in every model
    last = getattr(model.bridge, "ln_final", None)
    after = [*list(model.bridge.blocks)[1:], *([] if last is None else [last])]
    handles = [part.register_forward_pre_hook(watch(i), with_kwargs=True) for i, part in enumerate(after)]
    try:
        with model.writing(range(model.n_layers), double, "resid_post"):
            model.forward(state.given.ids)
    finally:
        for handle in handles:
            handle.remove()
    worst = max(
        difference(taken[layer].reshape(values.shape), values) for layer, values in written.items() if layer in taken
    )
    return worst, state.bound, f"{len(taken)} x {model.width} inputs of the next block, off by {worst:.1e}"


def _vocabulary(state: _State) -> Found:
    """How many of the tokenizer's entries the model has no embedding for; a prompt that uses one is refused."""
    model = state.model
    rows, columns = model.tokens.embeddings, model.columns
    beyond = max(0, model.tokens.size - rows)
    shown = f"tokenizer {model.tokens.size}, embedding {rows}, logits {columns}"
    return 0.0, 0.0, f"{shown}; prompts with one of the {beyond} tokens beyond are refused" if beyond else shown


PROOFS: dict[str, Callable[[_State], Found]] = {
    "finite": _finite,
    "logits": _logits,
    "neurons": _neurons,
    "causal": _causal,
    "restored": _restored,
    "vocabulary": _vocabulary,
    "up": _up,
    "resid_post": _resid_post,
}

SITES = ("up", "resid_post")
"""Proofs without which a model does well, as long as nobody asks for that site."""

ACCEPTED = {
    "finite": "a checkpoint without NaN, in a dtype that holds its values: bfloat16 or float32 where float16 does not",
    "logits": (
        "a module without hooks or wrappers that TransformerLens leaves out; adapters are merged by load_model, other "
        "changes of a fused projection can be made in its weights"
    ),
    "neurons": "decoders with one dense FFN in every block, and no mixture of experts",
    "causal": "a causal language model, in which a token sees only those before it",
    "restored": "a model that computes the same twice",
    "vocabulary": "any",
    "up": "the site 'post'",
    "resid_post": "the site 'post'",
}


def lines(model: HookedModel) -> Iterator[tuple[str, bool, str]]:
    """Name, verdict and words of each proof, with its bound."""
    for proof in model.proofs.values():
        bound = f" (accepted: {proof.bound:.0e})" if proof.holds and proof.bound else ""
        lacking = "this site is not offered: " if not proof.holds and proof.name in SITES else ""
        yield proof.name, proof.holds or bool(lacking), lacking + proof.detail + bound
