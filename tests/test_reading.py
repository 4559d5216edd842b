"""Where the answer is read: the model chooses, among the places where every letter is one token."""

from __future__ import annotations

from typing import Any

import pytest
import tiny
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import neuron_antagonism as na

one_thread = tiny.one_thread

CHAT = (
    "{% for m in messages %}<{{ m.role }}>\n{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>\n{% endif %}"
)
SURE = 20.0
"""A logit that leaves nothing to the others."""


def characters() -> PreTrainedTokenizerFast:
    """Every character is a token: a space before a letter is one of its own."""
    return _fast("[\\s\\S]")


def words() -> PreTrainedTokenizerFast:
    """A space belongs to the letter after it, as in byte-pair vocabularies; alone it is a token as well."""
    return _fast(" ?[A-Za-z]+|[\\s\\S]")


def lone_space() -> PreTrainedTokenizerFast:
    """A bracket belongs to the letter after it."""
    return _fast("[( ]?[A-Za-z]+|[\\s\\S]")


def _fast(pattern: str) -> PreTrainedTokenizerFast:
    single = [chr(i) for i in range(32, 127)]
    pieces = ["<u>", "<s>", "\n", *single, *(f"{before}{letter}" for before in " (" for letter in "ABCD")]
    pieces += ["Pick", " Pick", "Answer", "user", "assistant"]
    found = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<u>"))
    found.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    found.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=found, unk_token="<u>", bos_token="<s>")


def writer(tokenizer: PreTrainedTokenizerFast, follows: dict[str, dict[str, float]]) -> Any:
    """A model that writes after each token what a table says: logits by the next token; all others get 0."""
    size = -(-len(tokenizer) // 8) * 8
    config = LlamaConfig(
        vocab_size=size,
        hidden_size=size,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=False,
        max_position_embeddings=256,
    )
    module = LlamaForCausalLM(config).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.model.embed_tokens.weight.copy_(torch.eye(size))
        # what a one-hot vector's norm makes of it is undone
        module.model.norm.weight.fill_(size**-0.5)
        for token, written in follows.items():
            for after, logit in written.items():
                module.lm_head.weight[
                    tokenizer.convert_tokens_to_ids(after), tokenizer.convert_tokens_to_ids(token)
                ] = logit
    return module


def letters_after(before: str = "") -> dict[str, float]:
    """The four letters, "B" before all, with `before` in their tokens."""
    return {f"{before}{letter}": SURE + (letter == "B") for letter in "ABCD"}


def question(ending: str, n: int = 0) -> na.Question:
    return na.Question(f"{'ab'[n % 2]}. Pick B\n{ending}", ("one", "two", "three", "four"), 1)


CASES = {
    "usual": (words, "Answer:", {":": letters_after(" ")}, ("", " {}")),
    "a letter in brackets": (words, "Answer: (", {"(": letters_after()}, ("", "{}")),
    "a bracket in the letter's token": (lone_space, "Answer:\n(", {"\n": letters_after("(")}, ("", "{}")),
    "a space of its own": (characters, "Answer:", {":": {" ": SURE}, " ": letters_after()}, (" ", "{}")),
    "a space that the prompt has": (characters, "Answer: ", {":": {" ": SURE}, " ": letters_after()}, ("", "{}")),
    "a space that belongs to the letter": (words, "Answer: ", {":": letters_after(" ")}, ("", "{}")),
    "a line of its own": (words, "Answer:", {":": {"\n": SURE}, "\n": letters_after()}, ("\n", "{}")),
    "a line that the prompt has": (words, "Answer:\n", {"\n": letters_after()}, ("", "{}")),
    "no space": (words, "Answer:", {":": letters_after()}, ("", "{}")),
}


@pytest.mark.parametrize("case", CASES)
def test_the_answer_is_read_where_the_model_writes_it(case):
    """Whatever a prompt ends with: every question right, the letters' mass near 1, the form recorded with it."""
    make, ending, follows, (suffix, form) = CASES[case]
    tokenizer = make()
    model = na.load_model(hf_model=writer(tokenizer, follows), tokenizer=tokenizer)
    found = na.evaluate(model, [question(ending, n) for n in range(6)])
    assert found.acc == 1.0
    assert found.letter_mass.min() > 0.99
    (chosen,) = model.letters.chosen.values()
    assert (chosen.suffix, chosen.form) == (suffix, form)
    assert chosen.mass == pytest.approx(float(found.letter_mass.mean()), abs=1e-9)
    assert found.confidence.min() > 0.4


def test_a_chat_template_ends_where_its_answer_begins():
    """The template's own newline is kept, and the letter stands bare after it."""
    tokenizer = words()
    tokenizer.chat_template = CHAT
    follows = {"\n": letters_after(), ":": letters_after(" ")}
    model = na.load_model(hf_model=writer(tokenizer, follows), tokenizer=tokenizer, chat_template=True)
    found = na.evaluate(model, [question("Answer:", n) for n in range(4)])
    (form,) = model.letters.chosen.values()
    assert (found.acc, form.suffix, form.form) == (1.0, "", "{}")
    assert found.letter_mass.min() > 0.99


def test_the_probabilities_are_the_plain_models_own():
    """At the place that was chosen, the softmax over the letters and their mass equal the plain module's."""
    tokenizer = characters()
    follows = {":": {" ": 7.0, "\n": 5.0}, " ": {"A": 6.0, "B": 7.0, "C": 5.0, "D": 4.5, "x": 6.5}}
    module = writer(tokenizer, follows)
    asked = [question("Answer:", n) for n in range(2)]
    ids = [tokenizer(q.prompt + " ")["input_ids"] for q in asked]
    with torch.no_grad():
        logits = torch.stack([module(torch.tensor([row])).logits[0, -1] for row in ids])
    letters = tokenizer.convert_tokens_to_ids(list("ABCD"))
    found = na.evaluate(na.load_model(hf_model=module, tokenizer=tokenizer), asked)
    assert torch.allclose(found.option_probabilities, logits[:, letters].softmax(-1), atol=1e-9)
    assert torch.allclose(found.letter_mass, logits.softmax(-1)[:, letters].sum(-1), atol=1e-9)


def test_what_the_model_writes_counts_not_what_it_would_write_elsewhere():
    """After a newline it would write letters too; but it writes no newline there, so the usual form stays."""
    tokenizer = words()
    follows = {":": {**letters_after(" "), "x": SURE - 1}, "\n": dict.fromkeys("ABCD", 2 * SURE)}
    model = na.load_model(hf_model=writer(tokenizer, follows), tokenizer=tokenizer)
    model.encode_all([question("Answer:")])
    (form,) = model.letters.chosen.values()
    assert (form.suffix, form.form) == ("", " {}")
    assert form.mass < 0.95


def test_a_model_that_writes_no_letters_keeps_the_prompts_tokens():
    """Where no form gets a tenth of the probability, noise does not choose; the mass says how little it is."""
    tokenizer = words()
    follows = {":": {"A": 1.0, "x": SURE}}
    model = na.load_model(hf_model=writer(tokenizer, follows), tokenizer=tokenizer)
    found = na.evaluate(model, [question("Answer:")])
    (form,) = model.letters.chosen.values()
    assert (form.suffix, form.form) == ("", " {}")
    assert form.mass < 0.1
    assert found.letter_mass.max() < 0.1


def test_an_ending_is_settled_once_by_the_first_prompts():
    """Prompts with one ending share the choice whatever stands before; an edit that is active has no say."""
    tokenizer = words()
    model = na.load_model(hf_model=writer(tokenizer, {":": letters_after()}), tokenizer=tokenizer)
    edit = na.edit(na.NeuronSet.of([(0, 0)]), "silence", positions="all")
    with model.edited(edit):
        model.encode(question("Answer:"))
    before = dict(model.letters.chosen)
    model.encode_all([question("b\nthe Answer:"), question("Answer:", 1)])
    assert model.letters.chosen == before
    model.encode_all([question("Answer: (")])
    assert len(model.letters.chosen) == 2


def test_a_prompt_that_was_asked_alone_decides_for_no_others():
    """Whatever one prompt would have, the first few that are asked together are asked themselves."""
    tokenizer = words()
    model = na.load_model(hf_model=writer(tokenizer, {":": letters_after(" ")}), tokenizer=tokenizer)
    asked = [na.Question(f"{'Pick ' * n}Answer:", ("a", "b", "c", "d"), 0) for n in range(1, 5)]
    model.encode(asked[0])
    (key,) = model.letters._asked
    assert model.letters._asked[key] == 1
    model.encode_all(asked)
    assert model.letters._asked[key] == 4
    chosen = model.letters.chosen[key]
    model.encode_all(asked[::-1] * 2)
    assert model.letters.chosen[key] is chosen


def test_a_prompt_that_can_not_take_the_chosen_form_gets_its_own():
    """The others keep theirs."""
    tokenizer = words()
    model = na.load_model(hf_model=writer(tokenizer, {":": letters_after(" ")}), tokenizer=tokenizer)
    first = model.encode(question("Answer:"))
    assert model.encode(question("Answer:")) == first
    assert model.fits(question("Answer:"))


# --- what a tokenizer adds -----------------------------------------------------------------------------------------


def adding(before: str, after: str, tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """A tokenizer that puts special tokens around every text."""
    from tokenizers import processors

    specials = [(piece, tokenizer.convert_tokens_to_ids(piece)) for piece in ("<s>", "<u>")]
    template = " ".join([*([before] if before else []), "$A", *([after] if after else [])])
    tokenizer._tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=specials)
    return tokenizer


@pytest.mark.parametrize(("before", "after"), [("<s>", ""), ("", "<u>"), ("<s>", "<u>")])
def test_what_a_tokenizer_adds(before, after):
    """What it puts before a prompt stands there once, also where the prompt brings it along; nothing stands after."""
    tokenizer = adding(before, after, words())
    model = na.load_model(hf_model=writer(tokenizer, {":": letters_after(" ")}), tokenizer=tokenizer)
    bare = words()(question("Answer:").prompt)["input_ids"]
    head = [tokenizer.convert_tokens_to_ids("<s>")] if before else []
    assert list(model.encode(question("Answer:")).ids) == head + bare
    assert na.evaluate(model, [question("Answer:")]).acc == 1.0
    if before:
        twice = na.Question("<s>" + question("Answer:").prompt, ("one", "two", "three", "four"), 1)
        assert list(model.encode(twice).ids) == head + bare


def test_perplexity_counts_the_texts_own_tokens_after_what_begins_a_text():
    """Every window begins with the BOS; an EOS that the tokenizer adds is not predicted."""
    tokenizer = adding("<s>", "<u>", characters())
    module = writer(tokenizer, {":": letters_after(" "), "<s>": {"a": 3.0}, "a": {"b": 2.0}, "b": {"a": 1.0}})
    text = "ab" * 300
    seen: list[torch.Tensor] = []
    module.register_forward_pre_hook(
        lambda _, args, named: seen.append(named.get("input_ids", *args)), with_kwargs=True
    )
    model = na.load_model(hf_model=module, tokenizer=tokenizer)
    seen.clear()
    # the context is 256 tokens: windows of 255 own ones
    found = na.perplexity(model, [text])
    begin = tokenizer.convert_tokens_to_ids("<s>")
    assert all(int(row[0]) == begin for ids in seen for row in ids)
    own = characters()(text)["input_ids"]
    losses = []
    for start in range(0, len(own), 255):
        ids = torch.tensor([[begin, *own[start : start + 255]]])
        with torch.no_grad():
            logits = module(ids).logits[0, :-1]
        losses.append(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none"))
    assert sum(map(len, losses)) == len(own)
    assert found == pytest.approx(float(torch.cat(losses).mean().exp()), rel=1e-9)


def test_half_a_surrogate_pair_is_no_text():
    """A prompt, a text and a generation with one are refused in one line."""
    tokenizer = words()
    model = na.load_model(hf_model=writer(tokenizer, {":": letters_after(" ")}), tokenizer=tokenizer)
    with pytest.raises(na.DataError, match=r"half of a surrogate pair, .*accepted: Unicode text"):
        na.perplexity(model, ["a \ud83d b"])
    with pytest.raises(na.DataError, match="half of a surrogate pair"):
        list(na.generate(model, "a \ud83d b"))
