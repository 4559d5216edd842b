"""What the core asks of a scorer before it computes anything; imports no torch."""

from __future__ import annotations

from neuron_antagonism.plugin.base import Scorer, Target
from neuron_antagonism.plugin.foreign import foreign


def own_target(scorer: Scorer) -> Target | None:
    """A scorer's target, which may be a property of the plugin's; None where it has no gradient.

    Raises:
        PluginError: it fails.
    """
    with foreign(f"scorer {scorer.name!r} failed in target"):
        return scorer.target


def passes_of_its_own(scorer: Scorer) -> bool:
    """Whether a scorer attributes by passes of its own, and takes no part in those that are shared.

    It does where its class overrides `attribute`, unless its options do without: then its property `own_passes` is
    false, and `aggregate` is called.
    """
    return type(scorer).attribute is not Scorer.attribute and bool(getattr(scorer, "own_passes", True))
