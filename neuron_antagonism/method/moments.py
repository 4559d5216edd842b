"""Streaming statistics of unit values: one pass, constant memory, whatever the number of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from neuron_antagonism.errors import UsageError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Moments:
    """Count, mean and central moments of many values at once, in float64 on the CPU.

    Batches are joined by the update of Chan, Golub and LeVeque (1979), for the third and fourth moments as in Pébay
    (2008): no sum of squares is ever subtracted from another, so that values of any scale keep their digits.

    Attributes:
        count: rows seen.
        mean: of each value; NaN where no row was seen.
        mean_abs: mean of |value|.
    """

    def __init__(self) -> None:
        """Nothing seen yet; the first rows set the shape."""
        self.count = 0
        self.mean: Float[Tensor, "*unit"] = torch.full((), float("nan"), dtype=torch.float64)
        self.mean_abs = self.mean
        # sums of the second, third and fourth powers of the deviations from the mean
        self._sums: dict[int, Tensor] = {}

    def add(self, rows: Float[Tensor, "row ..."]) -> None:
        """See some more rows.

        Raises:
            UsageError: they are of another shape than those before.
        """
        known = tuple(self.mean.shape) if self.count else tuple(rows.shape[1:])
        if not rows.ndim or tuple(rows.shape[1:]) != known:
            raise UsageError(f"rows of shape {tuple(rows.shape)}; accepted: [row, *unit], units of shape {known}")
        if not len(rows):
            return
        rows = rows.detach().to("cpu", torch.float64)
        new = Moments()
        new.count = len(rows)
        # deviations from a row, not from a rounded mean: what is constant stays so exactly
        new.mean = rows[0] + (rows - rows[0]).mean(0)
        new.mean_abs = rows.abs().mean(0)
        deviations = rows - new.mean
        new._sums = {power: (deviations**power).sum(0) for power in (2, 3, 4)}
        self._join(new)

    def merged(self, other: Moments) -> Moments:
        """The moments of both sets of rows."""
        both = Moments()
        both._join(self)
        both._join(other)
        return both

    @property
    def std(self) -> Float[Tensor, "*unit"]:
        """Standard deviation with divisor n (ddof 0)."""
        return self._central(2).sqrt()

    @property
    def skewness(self) -> Float[Tensor, "*unit"]:
        """Third standardised moment; 0 for a Gaussian, NaN for a constant."""
        return self._central(3) / self._central(2) ** 1.5

    @property
    def kurtosis(self) -> Float[Tensor, "*unit"]:
        """Fourth standardised moment minus 3 (excess); 0 for a Gaussian, NaN for a constant."""
        return self._central(4) / self._central(2) ** 2 - 3

    @property
    def normality(self) -> Float[Tensor, "*unit"]:
        """p-value of the test of Jarque and Bera (1980) that values are Gaussian; NaN for a constant.

        The test is asymptotic: below some fifty rows it rejects too rarely.
        """
        statistic = self.count / 6 * (self.skewness**2 + self.kurtosis**2 / 4)
        # the survival function of χ² with two degrees of freedom
        return (-statistic / 2).exp()

    def _central(self, power: int) -> Tensor:
        return self._sums[power] / self.count if self.count else torch.full_like(self.mean, float("nan"))

    def _join(self, other: Moments) -> None:
        if not other.count:
            return
        if not self.count:
            self.count, self.mean, self.mean_abs, self._sums = other.count, other.mean, other.mean_abs, other._sums
            return
        a, b = self.count, other.count
        n = a + b
        delta = (other.mean - self.mean) / n
        (a2, a3, a4), (b2, b3, b4) = ([m._sums[power] for power in (2, 3, 4)] for m in (self, other))
        self._sums = {
            2: a2 + b2 + delta**2 * a * b * n,
            3: a3 + b3 + delta**3 * a * b * (a - b) * n + 3 * delta * (a * b2 - b * a2),
            4: a4
            + b4
            + delta**4 * a * b * (a**2 - a * b + b**2) * n
            + 6 * delta**2 * (a**2 * b2 + b**2 * a2)
            + 4 * delta * (a * b3 - b * a3),
        }
        self.mean = self.mean + delta * b
        self.mean_abs = self.mean_abs + (other.mean_abs - self.mean_abs) * (b / n)
        self.count = n


def gaussian_overlap(
    mean: Float[Tensor, "*unit"],
    std: Float[Tensor, "*unit"],
    other_mean: Float[Tensor, "*unit"],
    other_std: Float[Tensor, "*unit"],
) -> Float[Tensor, "*unit"]:
    """Overlap coefficient of two Gaussians: ∫ min(p, q), from 0 (apart) to 1 (equal), float64.

    A standard deviation of 0 is a point: it overlaps only with the same point.

    Raises:
        UsageError: a negative standard deviation.
    """
    if bool((std < 0).any()) or bool((other_std < 0).any()):
        raise UsageError("a standard deviation is negative; accepted: 0 and above")
    first = torch.stack([mean.double(), std.double()])
    second = torch.stack([other_mean.double(), other_std.double()])
    narrow, wide = torch.where(std <= other_std, first, second), torch.where(std <= other_std, second, first)
    point = narrow[1] == 0
    size = torch.where(point, torch.ones_like(narrow[1]), narrow[1])
    # in units of the narrow one: the wide one lies at `shift`, `ratio` times as wide
    shift, ratio = (wide[0] - narrow[0]) / size, (wide[1] / size).clamp_min(1)
    same = ratio == 1
    a = torch.where(same, torch.ones_like(ratio), 1 - ratio**-2)
    half_b = shift / ratio**2
    c = -(shift**2 / ratio**2 + 2 * ratio.log())
    # the form of the roots that does not cancel where the two are nearly alike
    q = -(half_b + torch.where(half_b < 0, -1.0, 1.0) * (half_b**2 - a * c).clamp_min(0).sqrt())
    q = torch.where(q == 0, torch.full_like(q, -1e-300), q)
    low, high = torch.minimum(q / a, c / q), torch.maximum(q / a, c / q)
    cdf = torch.special.ndtr
    unequal = cdf((high - shift) / ratio) - cdf((low - shift) / ratio) + cdf(low) + cdf(-high)
    overlap = torch.where(same, 2 * cdf(-shift.abs() / 2), unequal)
    alike = (first == second).all(0)
    return torch.where(point, alike.double(), overlap).clamp(0, 1)
