"""English-like text from word lists: what the tokenizers are trained on and what tests score."""

from __future__ import annotations

import random
from functools import lru_cache

NOUNS = (
    "cell protein gene tissue patient treatment disease vaccine virus bacteria river forest storm market price trade "
    "engine bridge tunnel signal sensor planet galaxy telescope orbit crystal metal polymer enzyme membrane kidney "
    "liver heart muscle nerve brain memory language grammar sentence paper author reader library index query document "
    "score ranking model vector matrix function array interval method result sample study trial group risk dose"
).split()
ADJECTIVES = (
    "acute early late rapid slow large small stable weak strong common rare human chronic local global random linear "
    "dense sparse cold warm deep shallow bright severe mild modern ancient"
).split()
VERBS = (
    "increases reduces controls predicts describes measures blocks supports changes explains follows detects affects "
    "improves limits shows repeats replaces compares joins"
).split()
PLACES = "water blood soil space practice theory children adults cities mice plants summer winter court school".split()
# Invented terms ("neurotropase") give the vocabularies their long tail and make words that fall into several pieces.
STEMS = ("neuro", "cardi", "micro", "hydro", "photo", "lip", "immun", "vas", "carb", "therm", "crypt", "phyt")
MIDDLES = ("", "tro", "gen", "lat", "min", "vir", "dol", "stat", "quor", "xan", "bew", "jup", "zol", "fik")
ENDINGS = ("ase", "in", "osis", "itis", "ic", "ography", "ment", "able", "ing", "ology")
# The prompts and the prediction tokens of the rankers: frequent, so that a small vocabulary has them as single pieces.
JUDGEMENTS = ("true", "false", "yes", "no")

__all__ = ["passages", "questions", "sentences", "training_corpus"]


def _term(rng: random.Random) -> str:
    return rng.choice(STEMS) + rng.choice(MIDDLES) + rng.choice(ENDINGS)


def _sentence(rng: random.Random) -> str:
    subject = f"{rng.choice(ADJECTIVES)} {_term(rng) if rng.random() < 0.4 else rng.choice(NOUNS)}"
    words = f"the {subject} {rng.choice(VERBS)} the {rng.choice(NOUNS)} of {rng.choice(NOUNS)}"
    if rng.random() < 0.5:
        words += f" in {rng.choice(PLACES)}"
    if rng.random() < 0.3:
        words += f", and a {rng.choice(NOUNS)} {rng.choice(VERBS)} {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}"
    if rng.random() < 0.2:
        words += f" ({rng.randint(2, 99)}.{rng.randint(0, 9)} %)"
    return words[0].upper() + words[1:] + "."


def sentences(count: int, *, seed: int = 0) -> list[str]:
    """Returns `count` sentences of about ten words; the same seed gives the same sentences."""
    rng = random.Random(f"sentences/{seed}")
    return [_sentence(rng) for _ in range(count)]


def passages(count: int, *, seed: int = 0, longest: int = 5) -> list[str]:
    """Returns `count` passages of one to `longest` sentences each."""
    rng = random.Random(f"passages/{seed}")
    return [" ".join(_sentence(rng) for _ in range(rng.randint(1, longest))) for _ in range(count)]


def questions(count: int, *, seed: int = 0) -> list[str]:
    """Returns `count` short queries, two to six words each."""
    rng = random.Random(f"questions/{seed}")
    shapes = (
        lambda: f"{rng.choice(ADJECTIVES)} {rng.choice(NOUNS)}",
        lambda: f"what {rng.choice(VERBS)} the {rng.choice(NOUNS)}",
        lambda: f"{rng.choice(NOUNS)} of {rng.choice(NOUNS)} in {rng.choice(PLACES)}",
        lambda: f"{_term(rng)} {rng.choice(NOUNS)}",
    )
    return [rng.choice(shapes)() for _ in range(count)]


@lru_cache(maxsize=1)
def training_corpus() -> tuple[str, ...]:
    """Returns what tokenizers are trained on: sentences, and the prompts of the rankers with their answers."""
    rng = random.Random("training corpus")
    lines = []
    for query, sentence in zip(questions(1000), sentences(1000), strict=True):
        lines.append(sentence)
        lines.append(f"Query: {query} Document: {sentence} Relevant: {rng.choice(JUDGEMENTS)}")
        lines.append(f"Document: {sentence} Query: {query} {' '.join(rng.sample(JUDGEMENTS, 4))}")
    return tuple(lines)
