"""A model whose FFN neurons can be read and written during any forward pass."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol
from weakref import ref

import torch

from neuron_antagonism.errors import DataError, ModelError, UsageError, unknown
from neuron_antagonism.model.agreement import BATCHED, Proof, difference
from neuron_antagonism.model.chat import ChatTemplate
from neuron_antagonism.model.identity import weights_sha256
from neuron_antagonism.model.letters import Asked, Encoded, Letters, Weight
from neuron_antagonism.model.loading import Loading
from neuron_antagonism.model.output import output_weights, taking, written
from neuron_antagonism.model.prefix import MIN_SHARED, PAD_ID, Prefix, padded
from neuron_antagonism.model.tokens import Tokens
from neuron_antagonism.model.turn import Turn, as_evaluated
from neuron_antagonism.model.weighing import weigh
from neuron_antagonism.neurons import FFN_SITES
from neuron_antagonism.types import Question

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from neuron_antagonism.neurons import NeuronSet

SITES = {
    "post": "blocks.{}.mlp.hook_post",
    "up": "blocks.{}.mlp.hook_pre_linear",
    "resid_post": "blocks.{}.hook_resid_post",
}
"""Where units are read and written: the neurons at the input of the FFN's output projection or at the up projection's
output, or the residual stream after a block."""

Write = Callable[["Tensor", int], "Tensor"]
"""Maps values [batch, position, neuron] of one layer to new ones; the second argument is the layer."""


class Editing(Protocol):
    """What a model needs of an edit, such as `method.edits.Edit` is."""

    @property
    def positions(self) -> str:
        """ "last" or "all"."""
        ...

    @property
    def site(self) -> str:
        """Where it writes."""
        ...

    @property
    def layers(self) -> Sequence[int]:
        """The blocks in which it writes."""
        ...

    @property
    def parts(self) -> Sequence[object]:
        """What it consists of; where this is empty it changes nothing."""
        ...

    def check(self, model: HookedModel) -> None:
        """Raise unless it can be made in that model."""

    def write(self, model: HookedModel) -> Write:
        """The function that edits whole forwards of that model."""
        ...


class HookedModel:
    """A causal language model on TransformerLens' bridge.

    Attributes:
        name: as it was loaded.
        architecture: the Hugging Face class name.
        n_layers: number of blocks.
        n_neurons: FFN neurons per block.
        columns: entries of the vocabulary that have a logit.
        width: of the residual stream.
        n_heads: attention heads per block.
        block_parameters: parameters of one block.
        max_context: the longest prompt in tokens, or None where the model names no limit.
        tokenizer: the user's own, unchanged.
        tokens: how it tokenises prompts; text_tokens: plain texts, which no chat template frames.
        planted: good and bad neurons that are known by construction, or None (the rule).
        source: what `load_model` loads it from again, or None for a pair that was given in memory.
        loading: how it was loaded from there.
        chat: the chat template that every question's prompt goes through, or None.
        adapter: what was merged into the weights when the model was loaded, or None.
        proofs: what loading proved, by name: figure, bound, verdict.

    A model computes for one thread at a time: others wait, or are refused while `edited` is entered elsewhere. Its
    modules may be in training mode and autocast may be on: every forward is made without either, and gives both back.
    """

    def __init__(
        self,
        bridge: Any,
        tokenizer: Any,
        name: str,
        planted: Mapping[str, NeuronSet] | None = None,
        source: str | None = None,
        *,
        loading: Loading | None = None,
        chat: bool = False,
        adapter: Mapping[str, Any] | None = None,
        embeddings: int | None = None,
        turn: Turn | None = None,
    ) -> None:
        """Wrap a bridge; one short forward finds the neurons of every block.

        `embeddings` are the rows of the model's embedding; None = as many as its config says. `turn` is shared with
        whatever else uses the same modules.

        Raises:
            ModelError: a model whose blocks have no neurons to hook; `chat` without a chat template.
        """
        self.planted = planted
        self.source = source
        self.loading = loading or Loading()
        self.adapter = adapter
        self.proofs: dict[str, Proof] = {}
        self._active: list[tuple[int, Editing]] = []
        self._turn = turn or Turn()
        self._asleep = False
        self._independent: dict[int, bool] = {}
        self._sites: dict[str, bool] = {}
        self.bridge = bridge
        self.tokenizer = tokenizer
        self.name = name
        config = bridge.original_model.config
        self.architecture: str = config.architectures[0]
        self.max_context = _max_context(config)
        text = config.get_text_config()
        self.vocabulary = int(text.vocab_size)
        self.width = int(bridge.cfg.d_model)
        self.n_heads = int(bridge.cfg.n_heads)
        self.block_parameters = sum(parameter.numel() for parameter in bridge.blocks[0].parameters())
        accepted = inspect.signature(bridge.original_model.forward).parameters
        self._can_keep = "logits_to_keep" in accepted
        # a chat template writes the special tokens itself: the tokenizer must not add them again
        self.tokens = Tokens(tokenizer, embeddings or self.vocabulary, special=not chat)
        self.text_tokens = Tokens(tokenizer, self.tokens.embeddings)
        self.chat = ChatTemplate(tokenizer, self.tokens.name) if chat else None
        unknown_id = getattr(tokenizer, "unk_token_id", None)
        # weakly: a model that is deleted is to be gone at once, and not when cycles are looked for
        me = ref(self)
        self.letters = Letters(self.tokens, self.tokens.name, unknown_id, self.chat, lambda one: _weighed(me(), one))
        self.n_layers = int(bridge.cfg.n_layers)
        self.n_neurons = self._found_neurons()

    @property
    def device(self) -> torch.device:
        """Where inputs go; a model that is spread over devices takes them on any and gives its logits back there."""
        devices = (parameter.device for parameter in self.bridge.original_model.parameters())
        # what accelerate keeps on disk has no device of its own
        return next((device for device in devices if device.type != "meta"), torch.device("cpu"))

    @property
    def devices(self) -> list[torch.device]:
        """Every device that a forward computes on; several where accelerate has spread the blocks."""
        spread = getattr(self.bridge.original_model, "hf_device_map", None) or {}
        found = {torch.device(where) for where in spread.values() if where not in ("cpu", "disk")}
        return sorted(found, key=str) or [self.device]

    @property
    def keep_last(self) -> dict[str, int]:
        """The argument with which a forward computes only the last position's logits, where the model has one."""
        return {"logits_to_keep": 1} if self._can_keep else {}

    @property
    def dtype(self) -> torch.dtype:
        """The parameters' dtype; of a quantized model, that of the parameters left whole."""
        dtypes = (parameter.dtype for parameter in self.bridge.original_model.parameters())
        found: torch.dtype = next(dtype for dtype in dtypes if dtype.is_floating_point)
        return found

    @cached_property
    def keeps_tuples(self) -> bool:
        """Whether the model's cache is a tuple of keys and values by layer, as in code for earlier transformers."""
        ids = torch.full((1, 2), PAD_ID, device=self.device)
        with torch.no_grad():
            return isinstance(self.forward_and_cache(ids)[1], tuple)

    def fingerprint(self) -> str:
        """SHA-256 of architecture, weights, precision and chat template: any other gives another one.

        Every byte is read, for large models in seconds to minutes; neither device nor number of threads matter.
        """
        template = None if self.chat is None else self.chat.source
        parts = (self.architecture, weights_sha256(self.bridge.original_model), template)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def __repr__(self) -> str:
        """Name and shape."""
        return f"HookedModel({self.name!r}, {self.architecture}, {self.n_layers} x {self.n_neurons} neurons)"

    def encode(self, question: Question) -> Encoded:
        """Token ids of the prompt and of the option letters (of a question in words: the options' first tokens).

        Raises:
            DataError: the prompt is longer than the model's context.
            ModelError: the tokenizer has no single tokens for the letters.
        """
        asked = _asked(question)
        with self._turn.taken():
            encoded = self.letters.encode(asked.prompt, asked.letters, whole=asked.whole)
        if max(encoded.letters) >= self.columns:
            raise ModelError(
                f"the letters {list(question.letters)!r} are tokens up to {max(encoded.letters)} and {self.name} gives "
                f"{self.columns} logits; accepted: letters that the model can write"
            )
        if self.max_context is not None and len(encoded.ids) > self.max_context:
            raise DataError(
                f"the question {question.prompt[-60:]!r} is {len(encoded.ids)} tokens long; "
                f"accepted: at most {self.max_context}, this model's context"
            )
        return encoded

    def encode_all(self, questions: Sequence[Question]) -> list[Encoded]:
        """Token ids of questions that are asked together: where they are read is chosen on the first few of them.

        Errors as in `encode`.
        """
        with self._turn.taken():
            self.letters.settle(_asked(question) for question in questions)
            return [self.encode(question) for question in questions]

    def fits(self, question: Question) -> bool:
        """Whether the prompt fits the model's context."""
        asked = _asked(question)
        with self._turn.taken():
            limit = self.max_context
            return limit is None or self.letters.length(asked.prompt, asked.letters, whole=asked.whole) <= limit

    def readable(self, questions: Sequence[Question]) -> list[bool]:
        """Whether each question can be answered where questions like it are: in words, by first tokens that differ.

        Where that is, is chosen on the first few of these questions. By letters all can, or `encode` says why not.
        """
        with self._turn.taken():
            self.letters.settle(_asked(question) for question in questions if question.in_words)
            return [not q.in_words or self.letters.differ(q.prompt, q.letters) for q in questions]

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Within the context it is this thread's turn, no module trains and no autocast is on."""
        with self._turn.taken(), as_evaluated(self._modules):
            yield

    @cached_property
    def _modules(self) -> list[torch.nn.Module]:
        """The bridge's modules and the user's own, which its registry leaves out."""
        every = [*self.bridge.modules(), *self.bridge.original_model.modules()]
        return list({id(module): module for module in every}.values())

    @contextmanager
    def unedited(self) -> Iterator[None]:
        """Within the context no edit and no other write acts, whatever is active around it."""
        with self._turn.taken():
            before, self._asleep = self._asleep, True
            try:
                yield
            finally:
                self._asleep = before

    def independent(self, prompts: Sequence[Sequence[int]]) -> bool:
        """Whether a prompt's logits stay what they are when it is padded, continued, or run beside longer ones.

        Proved on the longest of these prompts and beginnings of it, of few tokens and of many (what changes with length
        changes most where a prompt is long by itself), once for each length. Where it does not hold
        (positions that depend on a batch's length, as those of LongRoPE do), prompts of different lengths never share
        a forward, and nothing is cached.
        """
        longest = max(prompts, key=len)
        known = self._independent
        if any(holds and length >= len(longest) for length, holds in known.items()) or len(longest) <= MIN_SHARED:
            return True
        if len(longest) not in known:
            with torch.no_grad(), self.unedited():
                lengths = {MIN_SHARED, *(max(MIN_SHARED, len(longest) * part // 4) for part in (1, 2, 3, 4))}
                beginnings = [longest[:length] for length in sorted(lengths)]
                apart = [self._last_logits([ids]) for ids in beginnings]
                together = self._last_logits(beginnings)
            known[len(longest)] = difference(together, torch.cat(apart)) <= BATCHED[self.dtype]
        return known[len(longest)]

    def forward(self, ids: Int[Tensor, "batch position"], **kwargs: Any) -> Float[Tensor, "batch position vocab"]:
        """The bridge's logits; keyword arguments go to the Hugging Face model."""
        with self.computing():
            logits: Tensor = self.bridge(ids, return_type="logits", **kwargs)
        return logits

    def forward_and_cache(self, ids: Int[Tensor, "batch position"], **kwargs: Any) -> tuple[Tensor, Any]:
        """The bridge's logits, and the cache of keys and values that it returns."""
        with self.computing():
            logits, cache = self.bridge(ids, return_type="logits_and_cache", use_cache=True, **kwargs)
        return logits, cache

    def last_values(
        self, prompts: Sequence[Sequence[int]], shared: Prefix | None = None, site: str = "post"
    ) -> tuple[Float[Tensor, "batch vocab"], Float[Tensor, "batch layer unit"]]:
        """Logits after each prompt's last token, as `last_logits` gives them, and the values of all units there.

        Args:
            prompts: token ids.
            shared: tokens that all these prompts begin with, already run.
            site: where the units are.
        """
        if self._apart(prompts):
            rows = [self.last_values([ids], shared, site) for ids in prompts]
            return torch.cat([logits for logits, _ in rows]), torch.cat([values for _, values in rows])
        start = shared.length if shared is not None else 0
        last = torch.tensor([len(ids) - 1 - start for ids in prompts])
        found: dict[int, Tensor] = {}

        def read(values: Tensor, layer: int) -> Tensor:
            at = last.to(values.device)
            found[layer] = values[torch.arange(len(at), device=values.device), at]
            return values

        with torch.no_grad(), self.writing(range(self.n_layers), read, site):
            logits = self.last_logits(prompts, shared)
        return logits, torch.stack([found[layer].to(logits.device) for layer in range(self.n_layers)], dim=1)

    def last_logits(
        self, prompts: Sequence[Sequence[int]], shared: Prefix | None = None
    ) -> Float[Tensor, "batch vocab"]:
        """Logits after each prompt's last token, float32 or wider; prompts may differ in length.

        Args:
            prompts: token ids.
            shared: tokens that all these prompts begin with, already run under the same edits; not for an edit at
                the last position.

        Raises:
            ModelError: logits that are not finite.
        """
        if self._apart(prompts):
            return torch.cat([self._last_logits([ids], shared) for ids in prompts])
        return self._last_logits(prompts, shared)

    def _apart(self, prompts: Sequence[Sequence[int]]) -> bool:
        """Whether these prompts must be run one by one."""
        if len({len(ids) for ids in prompts}) == 1:
            return False
        return self.edited_at_last or not self.independent(prompts)

    def _last_logits(
        self, prompts: Sequence[Sequence[int]], shared: Prefix | None = None
    ) -> Float[Tensor, "batch vocab"]:
        start = shared.length if shared is not None else 0
        last = torch.tensor([len(ids) - 1 - start for ids in prompts], device=self.device)
        ids = padded([prompt[start:] for prompt in prompts], self.device)
        # nothing need be masked, and a mask would leave padding beyond a sliding window with nothing to see, which is
        # NaN in float64
        whole = torch.ones(len(prompts), start + ids.shape[1], dtype=torch.long, device=self.device)
        differ = len({len(prompt) for prompt in prompts}) > 1
        kwargs: dict[str, Any] = {"attention_mask": whole} if differ or start else {}
        if shared is not None:
            kwargs |= {"past_key_values": shared.cache(len(prompts)), "use_cache": True}
        rows = torch.arange(len(prompts), device=self.device)
        if self._can_keep:
            kept, column = torch.unique(last, return_inverse=True)
            logits = self.forward(ids, logits_to_keep=kept, **kwargs)[rows, column]
        else:
            logits = self.forward(ids, **kwargs)[rows, last]
        return self.checked(logits)

    def log_probabilities(self, ids: Sequence[int], start: int) -> Float[Tensor, "position vocab"]:
        """After the first `start` tokens and after each further one, by the unedited model; float64 on the CPU.

        Raises:
            ModelError: logits that are not finite.
        """
        wanted = len(ids) - start + 1
        keep = {"logits_to_keep": wanted} if self.keep_last else {}
        with torch.no_grad(), self.unedited():
            logits = self.forward(torch.tensor([list(ids)], device=self.device), **keep)[0, -wanted:]
        return self.checked(logits).double().log_softmax(-1).cpu()

    def checked(self, logits: Float[Tensor, "*batch vocab"]) -> Float[Tensor, "*batch vocab"]:
        """The logits in float32 or wider; ModelError where they are not finite.

        −inf is let pass, with which some models mask what they never write, as long as something is left.
        """
        largest = logits.amax(-1)
        if not bool(torch.isfinite(largest).all()):
            raise ModelError(
                f"{self.name} gives logits that are not finite (dtype {self.dtype}); "
                "accepted: finite ones; a wider dtype such as bfloat16 or float32 often helps"
            )
        return logits if logits.dtype == torch.float64 else logits.float()

    @contextmanager
    def writing(self, layers: Sequence[int], write: Write, site: str = "post") -> Iterator[None]:
        """Within the context, `write(values, layer)` replaces the neuron values of these layers in every forward.

        `values` always comes as [batch, position, neuron]. The hooks are gone afterwards, whatever happens.
        """
        template = self.site(site)
        hooks = [(template.format(layer), self._hook(write, layer)) for layer in layers]
        with self._turn.taken(), self.bridge.hooks(fwd_hooks=hooks):
            yield

    def units(self, site: str) -> int:
        """How many units a site has in each block: FFN neurons, or the residual stream's dimensions.

        Raises:
            UsageError: an unknown site, or one that this model lacks.
        """
        self.site(site)
        return self.n_neurons if site in FFN_SITES else self.width

    def has_site(self, name: str) -> bool:
        """Whether every block of the model has that site."""
        if name not in self._sites:
            # the bridge makes this dict anew each time
            hooks = self.bridge.hook_dict
            self._sites[name] = all(SITES[name].format(layer) in hooks for layer in range(self.n_layers))
        return self._sites[name]

    def site(self, name: str) -> str:
        """The hook's name template of a site.

        Raises:
            UsageError: an unknown site, or one that this model lacks.
        """
        if name not in SITES:
            raise UsageError(unknown("site", name, SITES))
        proof = self.proofs.get(name)
        if proof is not None and not proof.holds:
            raise UsageError(f"{self.name} ({self.architecture}) has no site {name!r} that is one: {proof.detail}")
        if not self.has_site(name):
            there = [repr(site) for site in SITES if self.has_site(site)]
            raise UsageError(
                f"{self.name} ({self.architecture}) has no site {name!r}"
                f"{': its FFN is not gated' if name == 'up' else ''}; accepted: {', '.join(there)}"
            )
        return SITES[name]

    def output_weights(self, layer: int) -> Float[Tensor, "neuron width"]:
        """What each FFN neuron of a block writes for each unit of its value at the site "post"; float32 or wider.

        What the FFN's output projection writes, before a norm or multiplier that some models put behind it. Of any
        module kind: a quantized weight is read by what it writes.

        Raises:
            ModelError: the block's output projection was not found.
        """
        module = self._output_projection(layer)
        like = torch.empty(0, dtype=self.dtype, device=place_of(module, self.device))
        with self.computing():
            return output_weights(module, self.n_neurons, like)

    def ffn_output(self, layer: int, values: Float[Tensor, "*batch neuron"]) -> Float[Tensor, "*batch width"]:
        """What a block's FFN writes where its neurons have these values at the site "post"; float32 or wider.

        The sum of values times `output_weights`, and the projection's bias, in the model's own precision; before a norm
        or multiplier that some models put behind it.

        Raises:
            ModelError: the block's output projection was not found.
        """
        module = self._output_projection(layer)
        rows = values.reshape(-1, values.shape[-1]).to(place_of(module, self.device), self.dtype)
        with self.computing():
            return written(module, rows).reshape(*values.shape[:-1], -1)

    def _output_projection(self, layer: int) -> torch.nn.Module:
        module = taking(self.bridge, self.site("post").format(layer))
        if module is None:
            raise ModelError(
                f"{self.name} ({self.architecture}), layer {layer}: the FFN's output projection is none that was "
                "found; accepted: decoders with a dense FFN in every block"
            )
        return module

    @contextmanager
    def edited(self, edit: Editing) -> Iterator[HookedModel]:
        """Within the context every forward is edited; the model is restored on exit, also after an exception.

        An edit at `last` acts on the last position of each forward: pad your own batches on the left, if at all.
        What this package computes within the context is right for any batch. Other threads can't use the model
        meanwhile: they get an error.
        """
        with self._turn.taken(kept=True), self.under(edit):
            yield self

    @contextmanager
    def under(self, edit: Editing) -> Iterator[HookedModel]:
        """What `edited` does, for a context that ends by itself: other threads wait for it."""
        edit.check(self)
        with self._turn.taken(), self.writing(edit.layers, edit.write(self), edit.site):
            if edit.parts:
                self._active.append((get_ident(), edit))
            try:
                yield self
            finally:
                if edit.parts:
                    self._active.pop()

    def _hook(self, write: Write, layer: int) -> Callable[..., Tensor]:
        def fn(values: Tensor, hook: Any) -> Tensor:
            return values if self._asleep else write(values, layer)

        return fn

    @property
    def is_edited(self) -> bool:
        """Whether an edit is active in this thread."""
        return any(thread == get_ident() for thread, _ in self._active)

    @property
    def edited_at_last(self) -> bool:
        """Whether an edit at the last position is active: no forward may then be padded on the right, or cached."""
        return any(thread == get_ident() and edit.positions == "last" for thread, edit in self._active)

    def _found_neurons(self) -> int:
        widths: dict[int, int] = {}

        def read(values: Tensor, layer: int) -> Tensor:
            widths[layer] = values.shape[-1]
            return values

        n_layers = self.n_layers
        missing = [i for i in range(n_layers) if SITES["post"].format(i) not in self.bridge.hook_dict]
        if missing:
            raise ModelError(
                f"{self.name} ({self.architecture}) has no FFN neurons to hook in block {missing[0]}; "
                "accepted: decoders with a dense FFN in every block"
            )
        with torch.no_grad(), self.writing(range(n_layers), read):
            self.columns = self.forward(torch.full((1, 2), PAD_ID, device=self.device)).shape[-1]
        if len(widths) != n_layers or len(set(widths.values())) != 1:
            raise ModelError(
                f"{self.name} ({self.architecture}) has FFN widths {sorted(set(widths.values()))} in {len(widths)} of "
                f"{n_layers} blocks; accepted: one width in every block"
            )
        return widths[0]


def place_of(module: torch.nn.Module, otherwise: torch.device) -> torch.device:
    """Where a module wants its inputs; what accelerate keeps elsewhere is fetched to where its hook says."""
    return next((weight.device for weight in module.parameters() if not weight.is_meta), otherwise)


def check_model(model: object) -> None:
    """Raise UsageError for what is no hooked model, such as its name."""
    if not isinstance(model, HookedModel):
        raise UsageError(f"the model is a {type(model).__name__}; accepted: what na.load_model gives")


def _weighed(model: HookedModel | None, candidates: Sequence[Encoded]) -> list[Weight] | None:
    """The weight of each place; None where the model is gone, or where a place lies beyond its context."""
    longest = max(len(one.ids) for one in candidates)
    if model is None or (model.max_context is not None and longest > model.max_context):
        return None
    return weigh(candidates, model.log_probabilities)


def _asked(question: Question) -> Asked:
    return Asked(question.prompt, question.letters, not question.in_words)


def _max_context(config: Any) -> int | None:
    text = config.get_text_config()
    for key in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"):
        limit = getattr(text, key, None)
        if isinstance(limit, int) and limit > 0:
            return limit
    return None
