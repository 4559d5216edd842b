"""How a process of this program's own keeps memory; a process of the user's is left as it is."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h."""

LARGEST = 32 * 2**20
"""Bytes of the largest allocation that glibc lets be kept."""


def keep_memory() -> None:
    """Let freed memory be used again, up to 2 GiB of it, instead of giving it back to the system after every tensor.

    glibc maps every larger tensor anew, page by page, which took a seventh of a small model's processor time. Elsewhere
    nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        # another C library
        return
    mallopt(_MMAP_THRESHOLD, LARGEST)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
