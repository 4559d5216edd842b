"""The conformance kit: test classes that tell whether a plugin keeps its contract. Needs pytest.

Subclass the one for your kind of plugin in a test module, name the plugin, and run pytest:

    from neuron_antagonism.testing import ScorerTests
    from my_package import MyScorer

    class TestMyScorer(ScorerTests):
        plugin = MyScorer

No model or data is downloaded: the tests run on the embedded demonstration model and on a tiny random one.
"""

from __future__ import annotations

from neuron_antagonism.testing.interventions import InterventionTests
from neuron_antagonism.testing.models import demo_model, tiny_model, tiny_questions
from neuron_antagonism.testing.scorers import ScorerTests
from neuron_antagonism.testing.tasks import TaskTests

__all__ = ["InterventionTests", "ScorerTests", "TaskTests", "demo_model", "tiny_model", "tiny_questions"]
