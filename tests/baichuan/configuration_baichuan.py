"""A configuration in the manner of remote code: the fields that Baichuan's modules read."""

from transformers import PretrainedConfig


class BaichuanConfig(PretrainedConfig):
    """Sizes of a Baichuan-style decoder."""

    model_type = "baichuan"
    keys_to_ignore_at_inference = ("past_key_values",)

    def __init__(
        self,
        vocab_size=64,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=4,
        hidden_act="silu",
        max_position_embeddings=64,
        initializer_range=0.3,
        rms_norm_eps=1e-6,
        use_cache=True,
        **kwargs,
    ):
        """Remember the sizes."""
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.hidden_act = hidden_act
        self.max_position_embeddings = max_position_embeddings
        self.initializer_range = initializer_range
        self.rms_norm_eps = rms_norm_eps
        self.use_cache = use_cache
        super().__init__(**kwargs)
