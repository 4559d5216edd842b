"""Files of repositories on the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path

from neuron_antagonism.errors import DataError, UsageError

PREFIX = "hub:"


def checked_repo(repo: str) -> str:
    """The id of a repository on the Hub.

    Raises:
        UsageError: it is none.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise UsageError(f"{repo!r:.80} is no repository on the Hub; accepted: user/name")
    return repo


def fetched(source: str, file: str) -> Path:
    """A file of `hub:user/name`, downloaded unless it is in the cache.

    Raises:
        UsageError: no repository's id.
        DataError: it can't be had.
    """
    from huggingface_hub import hf_hub_download

    repo = checked_repo(source.removeprefix(PREFIX))
    try:
        return Path(hf_hub_download(repo, file))
    # the library raises a dozen classes, from a missing file's to the network's
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{source}: can't read {file}: {reason}; accepted: a repository that holds it") from None
