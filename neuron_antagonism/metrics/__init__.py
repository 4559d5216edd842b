"""Figures from answers: outcomes, sweeps, effects, intervals, comparisons; plain numpy, needs no model."""
