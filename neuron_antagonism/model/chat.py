"""Prompts as a chat-tuned model was trained to see them."""

from __future__ import annotations

from typing import Any

from neuron_antagonism.errors import ModelError


class ChatTemplate:
    """A tokenizer's chat template around a prompt.

    Attributes:
        source: the template itself.
    """

    def __init__(self, tokenizer: Any, name: str) -> None:
        """Find the template.

        Raises:
            ModelError: the tokenizer has none.
        """
        self._tokenizer, self._name = tokenizer, name
        try:
            self.source = str(tokenizer.get_chat_template())
        except (ValueError, AttributeError):  # none at all, or several of which none is the default
            raise ModelError(
                f"the tokenizer {name} has no chat template; accepted: a chat-tuned model, or no --chat-template "
                "(chat_template=False)"
            ) from None

    def __call__(self, prompt: str) -> str:
        """The text of a user's message that the model is about to answer, special tokens included.

        Raises:
            ModelError: the template refuses the message.
        """
        messages = [{"role": "user", "content": prompt}]
        try:
            return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        # a template is a program of its author's
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"the chat template of {self._name} fails: {type(error).__name__}: {reason}") from None
