"""Norms as linear maps: what a norm does to a vector whose scale is held at what it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

SIZE = 128.0
"""Of the probe's entries: beside its square a norm's epsilon is nothing, and half precision holds it."""


@dataclass(frozen=True)
class Frozen:
    """x ↦ gain · (x − mean x) + shift, without the mean where `centred` is false: a norm but for its scale.

    Attributes:
        norm: the module; None = there is none, x stays as it is.
        gain: the norm's weight, float64 on the CPU.
        shift: its bias likewise.
        centred: whether the mean is taken off, as LayerNorm does.
    """

    norm: Any
    gain: Float[Tensor, " width"]
    shift: Float[Tensor, " width"]
    centred: bool

    @classmethod
    def of(cls, norm: Any, like: Float[Tensor, " width"]) -> Frozen:
        """Learn a norm by what it does to vectors of zero mean and known size, and to one of another mean.

        Args:
            norm: the module, or None.
            like: a tensor of the width, precision and device that it takes.
        """
        import torch

        width = len(like)
        if norm is None:
            return cls(None, torch.ones(width).double(), torch.zeros(width).double(), False)
        signs = torch.ones(width, dtype=torch.float64)
        signs[1::2] = -1
        up, down = called(norm, torch.stack([SIZE * signs, -SIZE * signs]), like)
        made = [cls(norm, (up - down) / 2 * signs, (up + down) / 2, centred) for centred in (False, True)]
        # the mean is what tells the two kinds apart
        off = torch.linspace(-1, 3, width, dtype=torch.float64)
        (seen,) = called(norm, off[None], like)
        return min(made, key=lambda one: one.error(off, seen))

    def scale(self, x: Float[Tensor, " width"], y: Float[Tensor, " width"]) -> float:
        """The factor that takes `gain · (x − mean x)` to what the norm made of x, by least squares."""
        raw = self.gain * self._taken(x)
        return float((raw @ (y - self.shift)) / (raw @ raw).clamp_min(1e-300))

    def error(self, x: Float[Tensor, " width"], y: Float[Tensor, " width"]) -> float:
        """How far the map is from what the norm made of x, as a share of the largest entry of that."""
        ours = self.scale(x, y) * self.gain * self._taken(x) + self.shift
        return float((ours - y).abs().max() / y.abs().max().clamp_min(1e-300))

    def before(self, direction: Float[Tensor, " width"], scale: float) -> Float[Tensor, " width"]:
        """The direction in front of the norm along which things move as far as along this one behind it."""
        found = scale * self.gain * direction
        return found - found.mean() if self.centred else found

    def _taken(self, x: Float[Tensor, " width"]) -> Float[Tensor, " width"]:
        return x - x.mean() if self.centred else x


def called(module: Any, rows: Float[Tensor, "row width"], like: Float[Tensor, "*shape"]) -> Float[Tensor, "row width"]:
    """What a module makes of some vectors in the precision and on the device of `like`; float64 on the CPU."""
    import torch

    with torch.no_grad():
        found: Tensor = module(rows.to(like.device, like.dtype)[None])[0]
    return found.double().cpu()
