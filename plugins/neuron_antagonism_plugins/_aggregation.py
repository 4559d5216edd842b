"""Options of scorers that offer another aggregation in place of additive reordering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from pydantic import Field, model_validator

import neuron_antagonism as na


class AggregationOptions(na.Scorer.Options):
    """Options of additive reordering and of what may take its place.

    Class attributes:
        belongs: by aggregation, the options that only it uses.
    """

    belongs: ClassVar[Mapping[str, Sequence[str]]] = {"additive": ("z", "ambiguous")}

    aggregation: str = Field(default="additive", description="how example scores become one score")

    @property
    def reorders(self) -> bool:
        """Whether scores come from additive reordering."""
        return self.aggregation == "additive"

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        fields = type(self).model_fields
        for way, names in self.belongs.items():
            for name in names if way != self.aggregation else ():
                value = getattr(self, name)
                # who names the aggregation knows what it uses: stored options hold every default
                unaware = name in self.model_fields_set and "aggregation" not in self.model_fields_set
                if unaware or value != fields[name].default:
                    raise ValueError(
                        f"{name}={value!r} does nothing with aggregation={self.aggregation!r}; "
                        f"accepted: {name} with aggregation={way!r}"
                    )
        return self
