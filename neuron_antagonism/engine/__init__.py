"""Engines: how the gradients of every layer and step are obtained."""
