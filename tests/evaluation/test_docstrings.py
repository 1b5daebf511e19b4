"""The examples in the docstrings run."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("module", ["pyterrier_taskarith.evaluation", "pyterrier_taskarith.tables"])
def test_examples_run(module):
    results = doctest.testmod(importlib.import_module(module))
    assert results.attempted and not results.failed
