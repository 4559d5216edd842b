"""Calling a plugin's code: whatever it raises is one line that names the plugin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from neuron_antagonism.errors import AntagonismError, PluginError


@contextmanager
def foreign(who: str, *, purposeful: bool = True) -> Iterator[None]:
    """Within the context a plugin's code runs; what it raises becomes a PluginError that begins with `who`.

    What this package itself raises on purpose goes through as it is, and so does running out of memory, which engines
    answer with a smaller forward.

    Args:
        who: the plugin and what it was asked to do, such as "scorer 'mine' failed in aggregate()".
        purposeful: whether this package's own errors go through; not where nobody would know whose they are.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, AntagonismError) and purposeful:
            raise
        if _out_of_memory(error):
            raise
        raise PluginError(f"{who}: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """An error's type and words."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")


def _out_of_memory(error: Exception) -> bool:
    # by name: this module is imported where torch is not
    return type(error).__name__ == "OutOfMemoryError" or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
