"""Edits as files that other programs load: a PEFT adapter, a whole checkpoint, a list of neurons."""
