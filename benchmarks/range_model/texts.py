"""Generated texts of four topics, and the questions that ask for a text's topic."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import neuron_antagonism as na

WORDS = {
    "weather": "rain snow cloud storm wind frost thunder sunny fog hail breeze drizzle",
    "music": "guitar song drum melody concert choir violin rhythm piano chorus trumpet tune",
    "food": "bread soup cheese apple pepper butter rice onion pasta honey salad cake",
    "travel": "train ticket hotel airport luggage map passport ferry journey tourist station bus",
}
LABELS = tuple(WORDS)
FILLER = "the a we they was were had very then again with some after before near our this that quite often"
FILLERS = tuple(FILLER.split())
OPENERS = ("note", "letter", "report", "diary")
OWN, NOISE, LENGTH = 4, 6, 12  # words of the topic; at most so many of other topics; words after the opener
FILLED = LENGTH - OWN - NOISE / 2  # filler words of a text, on average
PAD, UNKNOWN = "<pad>", "<unk>"


def draw_text(topic: str, opener: str, rng: random.Random) -> str:
    """A text that has more words of its topic than of any other, after an opener that says nothing about the topic."""
    others = [label for label in LABELS if label != topic]
    words = [rng.choice(WORDS[topic].split()) for _ in range(OWN)]
    words += [rng.choice(WORDS[label].split()) for label in rng.sample(others * (OWN - 1), rng.randint(0, NOISE))]
    words += [rng.choice(FILLERS) for _ in range(LENGTH - len(words))]
    rng.shuffle(words)
    return " ".join((opener, *words))


def prompt(text: str) -> str:
    """The text with the cue; what follows is the topic's label."""
    return f"text : {text} topic :"


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of whole words that knows every word of these texts and adds nothing."""
    known = {*prompt("").split(), *LABELS, *OPENERS, *FILLERS, *" ".join(WORDS.values()).split()}
    ids = {word: number for number, word in enumerate((PAD, UNKNOWN, *sorted(known)))}
    words = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token=PAD, unk_token=UNKNOWN)


class HeldOut:
    """Questions that no training batch contains: one set to identify units on, another to evaluate on."""

    def __init__(self, each: int, seed: int) -> None:
        """Draw `each` questions of every topic for either set; no text is there twice."""
        rng = random.Random(f"held out {seed}")
        self.texts: set[str] = set()
        self.identify = self._draw(each, rng)
        self.evaluate = self._draw(each, rng)

    def new_text(self, topic: str, opener: str, rng: random.Random) -> str:
        """A text that is not held out."""
        text = draw_text(topic, opener, rng)
        while text in self.texts:
            text = draw_text(topic, opener, rng)
        return text

    def _draw(self, each: int, rng: random.Random) -> list[na.LabelQuestion]:
        found = []
        for topic in LABELS:
            for number in range(each):  # openers take turns: guessing by them is right once in four
                text = self.new_text(topic, OPENERS[number % len(OPENERS)], rng)
                self.texts.add(text)
                found.append(na.LabelQuestion.of(prompt(text), LABELS, topic))
        return found


def training_batches(held_out: HeldOut, size: int, seed: int) -> Iterator[tuple[list[str], list[int]]]:
    """Endless batches: prompts, and the index of each one's label."""
    rng = random.Random(f"training {seed}")
    while True:
        topics = [rng.randrange(len(LABELS)) for _ in range(size)]
        yield [prompt(held_out.new_text(LABELS[topic], rng.choice(OPENERS), rng)) for topic in topics], topics
