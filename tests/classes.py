"""Questions of three classes for the tiny models, and what plain hooks see at their last tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import plain
import tiny

import neuron_antagonism as na

LABELS = ("w14", "w26 w3", "w31")
"""Each is the likeliest of the three about equally often, before a tiny LLaMA's random words."""


def questions(module: Any, n: int = 36) -> list[na.LabelQuestion]:
    """Of random words; two thirds with the likeliest label as the right one, the others with the next."""
    words, asked = tiny.tokenizer(), []
    first = [words(label)["input_ids"][0] for label in LABELS]
    for i in range(n):
        prompt = tiny.question(5 + i % 7, seed=i).prompt
        likeliest = int(plain.logits(module, words(prompt)["input_ids"])[-1][first].argmax())
        asked.append(na.LabelQuestion.of(prompt, LABELS, LABELS[(likeliest + (i % 3 == 0)) % len(LABELS)]))
    return asked


def seen(module: Any, asked: list[na.LabelQuestion], site: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values [question, layer, unit], which questions are answered rightly, and their concepts."""
    words, values, right = tiny.tokenizer(), [], []
    first = [words(label)["input_ids"][0] for label in LABELS]
    for question in asked:
        ids = words(question.prompt)["input_ids"]
        values.append(plain.values(module, ids, site).numpy())
        right.append(int(plain.logits(module, ids)[-1][first].argmax()) == question.answer)
    return np.stack(values), np.array(right), np.array([question.options[question.answer] for question in asked])
