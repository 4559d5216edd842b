"""All judges by name, in the order in which they are shown."""

from __future__ import annotations

from neuron_antagonism.parts.judging.agreement import Agreement
from neuron_antagonism.parts.judging.bench import Judge
from neuron_antagonism.parts.judging.control import Control
from neuron_antagonism.parts.judging.cost import Cost
from neuron_antagonism.parts.judging.dose import Dose
from neuron_antagonism.parts.judging.faithfulness import Faithfulness
from neuron_antagonism.parts.judging.interaction import Interaction
from neuron_antagonism.parts.judging.planted import Planted
from neuron_antagonism.parts.judging.stability import Stability
from neuron_antagonism.parts.specs import JUDGES

EVERY: dict[str, type[Judge]] = {
    judge.name: judge for judge in (Agreement, Faithfulness, Control, Dose, Interaction, Stability, Planted, Cost)
}

assert tuple(EVERY) == JUDGES
