"""Texts to time on: the docstrings of the demo's collection, real text of real lengths."""

from pyterrier_taskarith._files import home
from pyterrier_taskarith.demo import build_collection


def pairs(n):
    """Returns n (query, text) pairs, the same on every call: 20 texts a query."""
    data = build_collection(home() / "demo")
    texts, queries = [text for _, text in data.documents.pairs()], data.topics["dev"]["query"].tolist()
    return [(queries[place // 20], texts[(17 * place) % len(texts)]) for place in range(n)]
