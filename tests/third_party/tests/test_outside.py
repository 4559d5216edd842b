"""The conformance kit for all three, as their author would run it."""

import pytest
from outside_plugins.clamp import Clamp
from outside_plugins.learned_mask import LearnedMask
from outside_plugins.logit_difference import LogitDifferenceScorer
from outside_plugins.nli import Nli

import neuron_antagonism as na
from neuron_antagonism.testing import InterventionTests, ScorerTests, TaskTests


class TestLogitDifference(ScorerTests):
    plugin = LogitDifferenceScorer


class TestAgainstMax(ScorerTests):
    plugin = LogitDifferenceScorer
    options = {"against": "max"}


class TestLearnedMask(ScorerTests):
    plugin = LearnedMask
    options = {"rounds": 2}


class TestNli(TaskTests):
    plugin = Nli


class TestClamp(InterventionTests):
    plugin = Clamp
    options = {"percentile": 20}


def test_a_malformed_row_is_named(tmp_path):
    """A line that is no row gives file, line and what is accepted."""
    file = tmp_path / "rows.tsv"
    file.write_text("a\tb\tfollows\na\tb\tperhaps\n")
    with pytest.raises(na.DataError, match=r"rows.tsv, line 2: found .*; accepted: premise, hypothesis"):
        list(Nli().examples(str(file), 0))
