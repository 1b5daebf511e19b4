"""BM25 as the first stage, in several languages, and the Java it runs on."""

from pyterrier_taskarith.terrier._first_stage import K1, LANGUAGES, B, first_stage
from pyterrier_taskarith.terrier._java import ensure_java

__all__ = ["B", "K1", "LANGUAGES", "ensure_java", "first_stage"]
