"""BM25 as the first stage, in several languages, and the Java it runs on."""

from pyterrier_taskarith.terrier._analysis import LANGUAGES
from pyterrier_taskarith.terrier._first_stage import K1, B, dropped_of, first_stage

__all__ = ["B", "K1", "LANGUAGES", "dropped_of", "first_stage"]
