"""The panels that a command's help puts its options in: `typer.Option`, each for one of them."""

from __future__ import annotations

from functools import partial

import typer

measured = partial(typer.Option, rich_help_panel="What is measured")
model = partial(typer.Option, rich_help_panel="The model")
data = partial(typer.Option, rich_help_panel="Data and tasks")
place = partial(typer.Option, rich_help_panel="Where it is kept and carried out")
output = partial(typer.Option, rich_help_panel="Output")
