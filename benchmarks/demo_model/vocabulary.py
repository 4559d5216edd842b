"""The closed vocabulary of the demonstration model and its word-level tokenizer."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<unk>", "<bos>", "<eos>")
CONTEXT = 256
# A word, a single sign, or a phrase bracket with its label; `] [VP` (one phrase ends, the next begins) is
# one token, which keeps the divisions of the chunking task short.
PIECE = r"\] \[[A-Z]+|\[[A-Z]+|\w+|[^\w\s]"


def make_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer that knows exactly the pieces of `texts`; it adds nothing before or after a text."""
    splitter = pre_tokenizers.Split(Regex(PIECE), behavior="removed", invert=True)
    pieces = sorted({piece for text in texts for piece, _ in splitter.pre_tokenize_str(text)})
    ids = {piece: number for number, piece in enumerate((*SPECIAL, *pieces))}
    words = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    words.pre_tokenizer = splitter
    pad, unk, bos, eos = SPECIAL
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=pad,
        unk_token=unk,
        bos_token=bos,
        eos_token=eos,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
