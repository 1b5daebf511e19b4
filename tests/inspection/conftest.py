"""The small triples of the arithmetic tests."""

from tests.arithmetic.conftest import bert, bio, case, made, other, own_home, toxic

__all__ = ["bert", "bio", "case", "made", "other", "own_home", "toxic"]
