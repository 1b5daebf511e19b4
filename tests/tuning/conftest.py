"""What the tests of tuning share."""

import pytest

from pyterrier_taskarith.scorers import BiEncoder


@pytest.fixture
def scored(monkeypatch):
    """The number of pairs of every scoring of a bi-encoder from now on."""
    pairs, original = [], BiEncoder.score
    monkeypatch.setattr(BiEncoder, "score", lambda self, queries, *rest: pairs.append(len(queries)) or original(
        self, queries, *rest))
    return pairs


@pytest.fixture
def interrupted(monkeypatch):
    """Stops a function before a bi-encoder's n-th scoring: ``interrupted(n, function)``."""
    def interrupt(number, function):
        original, left = BiEncoder.score, iter(range(number - 1))

        def score(self, *arguments):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return original(self, *arguments)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(BiEncoder, "score", score)
            function()

    return interrupt
