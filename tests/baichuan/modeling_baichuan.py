"""A decoder of Baichuan-2-7B's architecture, written for these tests as code for earlier transformers was.

One projection for queries, keys and values; rotary angles kept as plain attributes; a cache of tuples; a 2-D mask;
an output head that normalises its weight; weights initialised in place.
"""

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_baichuan import BaichuanConfig


class RMSNorm(nn.Module):
    """Root mean square norm."""

    def __init__(self, size, eps):
        """Start at one."""
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.variance_epsilon = eps

    def forward(self, x):
        """Scale to a root mean square of one."""
        wide = x if x.dtype == torch.float64 else x.float()
        scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.variance_epsilon)
        return self.weight * scaled.to(x.dtype)


class RotaryEmbedding(nn.Module):
    """Rotary angles, computed once in the constructor and stored in no checkpoint."""

    def __init__(self, size, longest, base=10000.0):
        """Compute the angles of every position."""
        super().__init__()
        self.inv_freq = 1.0 / base ** (torch.arange(0, size, 2).float() / size)
        self.max_seq_len_cached = longest
        angles = torch.outer(torch.arange(longest).float(), self.inv_freq)
        both = torch.cat([angles, angles], dim=-1)
        self.cos_cached = both.cos()[None, None]
        self.sin_cached = both.sin()[None, None]

    def forward(self, x, seq_len=None):
        """Cosines and sines of the first positions."""
        self.cos_cached, self.sin_cached = self.cos_cached.to(x.device), self.sin_cached.to(x.device)
        return self.cos_cached[:, :, :seq_len], self.sin_cached[:, :, :seq_len]


def turned(x, cos, sin):
    """Vectors turned by their position's angles."""
    half = x.shape[-1] // 2
    return (x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin).to(x.dtype)


class Attention(nn.Module):
    """Attention with one projection W_pack."""

    def __init__(self, config):
        """Make the projections."""
        super().__init__()
        self.hidden_size, self.num_heads = config.hidden_size, config.num_attention_heads
        self.head_dim = self.hidden_size // self.num_heads
        self.W_pack = nn.Linear(self.hidden_size, 3 * self.hidden_size, bias=False)
        self.o_proj = nn.Linear(self.hidden_size, self.hidden_size, bias=False)
        self.rotary_emb = RotaryEmbedding(self.head_dim, config.max_position_embeddings)

    def forward(
        self, hidden_states, attention_mask=None, position_ids=None, past_key_value=None,
        output_attentions=False, use_cache=False,
    ):  # fmt: skip
        """Attend to what the mask allows, keys and values of earlier positions first."""
        batch, length, _ = hidden_states.shape
        parts = self.W_pack(hidden_states).split(self.hidden_size, dim=-1)
        q, k, v = (part.view(batch, length, self.num_heads, self.head_dim).transpose(1, 2) for part in parts)
        before = 0 if past_key_value is None else past_key_value[0].shape[-2]
        cos, sin = self.rotary_emb(v, seq_len=before + length)
        cos, sin = (angle[0, 0][position_ids][:, None] for angle in (cos, sin))
        q, k = turned(q, cos, sin), turned(k, cos, sin)
        if past_key_value is not None:
            k, v = torch.cat([past_key_value[0], k], dim=2), torch.cat([past_key_value[1], v], dim=2)
        scores = q @ k.transpose(2, 3) / self.head_dim**0.5 + attention_mask
        weights = scores.softmax(-1)
        mixed = (weights @ v).transpose(1, 2).reshape(batch, length, self.hidden_size)
        return self.o_proj(mixed), weights if output_attentions else None, (k, v) if use_cache else None


class MLP(nn.Module):
    """SwiGLU."""

    def __init__(self, config):
        """Make the projections."""
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.act_fn = ACT2FN[config.hidden_act]

    def forward(self, x):
        """Gate times up, projected down."""
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    """Attention and FFN, each behind a norm."""

    def __init__(self, config):
        """Make the parts."""
        super().__init__()
        self.self_attn, self.mlp = Attention(config), MLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self, hidden_states, attention_mask=None, position_ids=None, past_key_value=None,
        output_attentions=False, use_cache=False,
    ):  # fmt: skip
        """A tuple: the states, attention where asked for, keys and values where asked for."""
        mixed, weights, present = self.self_attn(
            hidden_states=self.input_layernorm(hidden_states), attention_mask=attention_mask,
            position_ids=position_ids, past_key_value=past_key_value, output_attentions=output_attentions,
            use_cache=use_cache,
        )  # fmt: skip
        hidden_states = hidden_states + mixed
        hidden_states = hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))
        return (hidden_states, *((weights,) if output_attentions else ()), *((present,) if use_cache else ()))


class BaichuanPreTrainedModel(PreTrainedModel):
    """What both models share."""

    config_class = BaichuanConfig
    base_model_prefix = "model"
    _no_split_modules = ("DecoderLayer",)

    def _init_weights(self, module):
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight.data.normal_(mean=0.0, std=self.config.initializer_range)


class BaichuanModel(BaichuanPreTrainedModel):
    """The decoder."""

    def __init__(self, config):
        """Make the blocks."""
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([DecoderLayer(config) for _ in range(config.num_hidden_layers)])
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_init()

    def forward(
        self, input_ids, attention_mask=None, position_ids=None, past_key_values=None, use_cache=None,
        output_attentions=False,
    ):  # fmt: skip
        """States after the last norm, and the cache as a tuple of tuples."""
        batch, length = input_ids.shape
        before = 0 if past_key_values is None else past_key_values[0][0].shape[2]
        if position_ids is None:
            position_ids = torch.arange(before, before + length, device=input_ids.device)[None]
        hidden_states = self.embed_tokens(input_ids)
        if attention_mask is None:
            attention_mask = torch.ones(batch, before + length, device=input_ids.device)
        rows, keys = attention_mask.shape  # 2-D, nothing else
        causal = torch.ones(length, keys, dtype=torch.bool, device=input_ids.device).tril(before)
        seen = causal & attention_mask.bool()[:, None, None]
        mask = torch.zeros(rows, 1, length, keys, dtype=hidden_states.dtype, device=input_ids.device)
        mask = mask.masked_fill(~seen, torch.finfo(hidden_states.dtype).min)
        cache = ()
        for layer, block in enumerate(self.layers):
            found = block(
                hidden_states, attention_mask=mask, position_ids=position_ids,
                past_key_value=None if past_key_values is None else past_key_values[layer],
                output_attentions=output_attentions, use_cache=use_cache,
            )  # fmt: skip
            hidden_states = found[0]
            cache += (found[-1],) if use_cache else ()
        return self.norm(hidden_states), cache if use_cache else None


class NormHead(nn.Module):
    """An output head whose weight's rows have length one."""

    def __init__(self, hidden_size, vocab_size):
        """Start with random rows."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, hidden_size))
        nn.init.kaiming_uniform_(self.weight)
        self.first_flag = True

    def forward(self, hidden_states):
        """Normalise the weight when it is first used."""
        if self.first_flag:
            self.first_flag = False
            self.weight.data = nn.functional.normalize(self.weight)
        return nn.functional.linear(hidden_states, self.weight)


class BaichuanForCausalLM(BaichuanPreTrainedModel):
    """The decoder with its output head."""

    def __init__(self, config):
        """Make decoder and head."""
        super().__init__(config)
        self.model = BaichuanModel(config)
        self.lm_head = NormHead(config.hidden_size, config.vocab_size)
        self.post_init()

    def get_input_embeddings(self):
        """The embedding."""
        return self.model.embed_tokens

    def forward(
        self, input_ids=None, attention_mask=None, position_ids=None, past_key_values=None, use_cache=None,
        output_attentions=False, **kwargs,
    ):  # fmt: skip
        """Logits of every position."""
        use_cache = self.config.use_cache if use_cache is None else use_cache
        states, cache = self.model(
            input_ids, attention_mask, position_ids, past_key_values, use_cache, output_attentions
        )
        return CausalLMOutputWithPast(logits=self.lm_head(states), past_key_values=cache)
