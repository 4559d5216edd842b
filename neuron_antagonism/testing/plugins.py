"""What holds for plugins of every kind."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from neuron_antagonism.errors import UsageError
from neuron_antagonism.plugin.base import Configurable
from neuron_antagonism.plugin.manager import check_plugin


class PluginTests:
    """Tests of a plugin's outside; the classes for each kind add its own.

    Class attributes:
        plugin: the class, or an instance.
        options: by name, for where the class needs some.
    """

    kind = ""
    plugin: Any = None
    options: dict[str, Any] = {}  # noqa: RUF012  # a subclass replaces it

    def made(self, **changes: Any) -> Any:
        """A fresh instance with the test's options."""
        options = {**self.options, **changes}
        if isinstance(self.plugin, type):
            return self.plugin(**options)
        return self.plugin.with_options(**options) if options else self.plugin

    def test_it_can_be_registered(self) -> None:
        """Name, kind and options are what the plugin manager accepts."""
        check_plugin(self.kind, self.plugin)

    def test_it_says_what_it_is(self) -> None:
        """The first line of its docstring, which `neuron-antagonism plugins` lists, is its own and says something."""
        cls = self.plugin if isinstance(self.plugin, type) else type(self.plugin)
        own = (vars(cls).get("__doc__") or "").strip()
        assert own, f"{cls.__name__} has no docstring: its first line stands in `neuron-antagonism plugins`"
        assert len(inspect.cleandoc(own).split("\n")[0]) <= 120, "the first line of the docstring is too long to list"

    def test_its_options_are_refused_when_unknown(self) -> None:
        """A misspelt option is an error in one line, never ignored."""
        if not isinstance(self.made(), Configurable):
            return
        with pytest.raises(UsageError) as caught:
            self.made(no_such_option=1)
        assert "no_such_option" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_its_options_can_be_stored(self) -> None:
        """Options survive JSON, in which a run's manifest holds them, and give the same plugin again."""
        made = self.made()
        if not isinstance(made, Configurable):
            return
        stored = json.loads(made.options.model_dump_json(exclude_unset=True))
        assert type(made)(**stored).options == made.options
