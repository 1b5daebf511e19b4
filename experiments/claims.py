"""What the paper claims of its tables, each with the check that tells whether it holds of any figures."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd

from experiments.paper import BASE, BM25, DOMAIN, FIXED, RANKER, TUNED, Figures
from experiments.protocol import MEASURES

LABELS = tuple(str(measure) for measure in MEASURES)
NDCG, PRECISION, AVERAGE_PRECISION = "nDCG@10", "P@10", "AP@100"
BI_ENCODERS, T5, LLAMA, MT5 = ("RoBERTa-base", "DistilBERT"), ("T5-Large", "T5-base"), "Llama-2-7B", "mT5-base"
TABLE1, TABLE2 = ("SciFact", "NFCorpus", "SCIDOCS", "TREC-COVID"), (
    "GermanQuAD", "MIRACL Spanish", "MIRACL French", "MIRACL English")
#: nDCG@10 that is no further apart counts as "comparable".
COMPARABLE = 0.02


@dataclass(frozen=True)
class Verdict:
    """Whether a claim holds.

    Attributes:
        holds: None where figures that it is about are missing.
        why: The figures that decide.
    """

    holds: bool | None
    why: str


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, and its check on the figures of one table."""

    text: str
    check: Callable[[Figures], Verdict]


def every(figures: Figures, pairs: Iterable[tuple[tuple[str, ...], tuple[str, ...]]],
          holds: Callable[[float, float], bool]) -> Verdict:
    """Checks every pair of cells; a pair with a missing figure counts for nothing, and all missing for no verdict."""
    wrong, known = [], 0
    for one, other in pairs:
        ours, theirs = figures.value(*one), figures.value(*other)
        if math.isnan(ours) or math.isnan(theirs):
            continue
        known += 1
        if not holds(ours, theirs):
            wrong.append(f"{one[0]} {one[1]} {one[2]} {one[3]}: {ours:.3f} against {theirs:.3f} of {other[1]}")
    if not known:
        return Verdict(None, "no figures")
    return Verdict(not wrong, f"{known - len(wrong)} of {known}" + (f"; not {_few(wrong)}" if wrong else ""))


def above(first: float, second: float) -> bool:
    """Returns whether a figure is higher, rounding aside."""
    return first > second + 1e-9


def _few(words: list[str]) -> str:
    return "; ".join(words[:3]) + (f"; and {len(words) - 3} more" if len(words) > 3 else "")


def _cells(systems: Iterable[str], variant: str, others: Iterable[str], datasets: Iterable[str],
           labels: Iterable[str] = LABELS) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [((system, variant, dataset, label), (system, other, dataset, label))
            for system in systems for other in others for dataset in datasets for label in labels]


def _only_these(figures: Figures) -> Verdict:
    wanted = {("RoBERTa-base", "TREC-COVID"), ("T5-base", "TREC-COVID"), ("T5-Large", "TREC-COVID"),
              ("T5-Large", "SCIDOCS")}
    known = {(system, dataset) for system in figures.names("system") for dataset in TABLE1
             if not math.isnan(figures.value(system, FIXED, dataset, NDCG) - figures.value(system, RANKER, dataset,
                                                                                         NDCG))}
    found = {(system, dataset) for system, dataset in known
             if above(figures.value(system, FIXED, dataset, NDCG), figures.value(system, RANKER, dataset, NDCG))}
    if not known:
        return Verdict(None, "no figures")
    return Verdict(found == wanted & known, f"above Θ_T: {', '.join(map(' '.join, sorted(found))) or 'nowhere'}")


def _bi_encoders(figures: Figures) -> Verdict:
    pairs = [pair for pair in _cells(BI_ENCODERS, TUNED, (BM25, BASE, DOMAIN, RANKER), TABLE1)
             if pair[0] != ("DistilBERT", TUNED, "NFCorpus", PRECISION)]
    return every(figures, pairs, above)


def starred(figures: Figures, systems: Iterable[str], variant: str, datasets: Iterable[str],
            labels: Iterable[str]) -> Verdict:
    """Checks that every cell has a star."""
    cells = [(system, variant, dataset, label) for system in systems for dataset in datasets for label in labels]
    cells = [cell for cell in cells if not math.isnan(figures.value(*cell))]
    without = [" ".join(cell) for cell in cells if not figures.starred(*cell)]
    if not cells:
        return Verdict(None, "no figures")
    return Verdict(not without, f"{len(cells) - len(without)} of {len(cells)}"
                   + (f"; no star: {_few(without)}" if without else ""))


def _pretrained_llama(figures: Figures) -> Verdict:
    return every(figures, _cells((LLAMA,), BASE, (BM25, DOMAIN, RANKER, FIXED, TUNED), ("SciFact", "SCIDOCS"),
                                 (PRECISION, NDCG)), lambda ours, theirs: not above(theirs, ours))


def _alphas(figures: Figures) -> Verdict:
    least = {**dict.fromkeys(BI_ENCODERS, 0.3), **dict.fromkeys((*T5, LLAMA), 0.7)}
    known = {name: alpha for name, alpha in figures.alphas.items() if name in least}
    if not known:
        return Verdict(None, "no α was tuned of a system of the paper")
    return Verdict(all(alpha >= least[name] for name, alpha in known.items()),
                   ", ".join(f"{name} {alpha:g}" for name, alpha in known.items()))


def _gains(figures: Figures) -> Verdict:
    gains = {}
    for label in (NDCG, PRECISION):
        found = [(figures.value(MT5, FIXED, dataset, label) / figures.value(MT5, RANKER, dataset, label) - 1, dataset)
                 for dataset in TABLE2]
        gains[label] = max(((gain, dataset) for gain, dataset in found if not math.isnan(gain)), default=None)
    best, precise = gains[NDCG], gains[PRECISION]
    if best is None or precise is None:
        return Verdict(None, "no figures")
    return Verdict(best[0] >= 0.175 and precise[0] >= 0.135,
                   f"at most {best[0]:+.1%} in nDCG@10 ({best[1]}) and {precise[0]:+.1%} in P@10 ({precise[1]})")


CLAIMS: dict[str, tuple[Claim, ...]] = {
    "table1": (
        Claim("At α = 1, Θ' is above Θ_T (nDCG@10) only on TREC-COVID with RoBERTa-base, T5-base and T5-Large, and on "
              "SCIDOCS with T5-Large.", _only_these),
        Claim("With α tuned, Θ' is above BM25 on every dataset and in every measure.",
              lambda figures: every(figures, _cells(figures.names("system"), TUNED, (BM25,), TABLE1), above)),
        Claim("Bi-encoders: Θ' with α tuned is above every baseline, but for DistilBERT's P@10 on NFCorpus.",
              _bi_encoders),
        Claim("Bi-encoders: Θ' with α tuned is significantly better in AP@100 on TREC-COVID.",
              lambda figures: starred(figures, BI_ENCODERS, TUNED, ("TREC-COVID",), (AVERAGE_PRECISION,))),
        Claim("T5: Θ' with α tuned is above Θ_T (nDCG@10) on SCIDOCS and TREC-COVID.",
              lambda figures: every(figures, _cells(T5, TUNED, (RANKER,), ("SCIDOCS", "TREC-COVID"), (NDCG,)), above)),
        Claim(f"T5: Θ' with α tuned is comparable to Θ_T (nDCG@10 at most {COMPARABLE} below) on SciFact and NFCorpus.",
              lambda figures: every(figures, _cells(T5, TUNED, (RANKER,), ("SciFact", "NFCorpus"), (NDCG,)),
                                    lambda ours, theirs: ours >= theirs - COMPARABLE)),
        Claim("T5: Θ' with α tuned is significantly better in AP@100 on TREC-COVID.",
              lambda figures: starred(figures, T5, TUNED, ("TREC-COVID",), (AVERAGE_PRECISION,))),
        Claim("T5: Θ' with α tuned is significantly better in nDCG@10 on TREC-COVID and SCIDOCS.",
              lambda figures: starred(figures, T5, TUNED, ("TREC-COVID", "SCIDOCS"), (NDCG,))),
        Claim("Llama-2: Θ' with α tuned is above every baseline on TREC-COVID (nDCG@10).",
              lambda figures: every(figures, _cells((LLAMA,), TUNED, (BM25, BASE, DOMAIN, RANKER), ("TREC-COVID",),
                                                    (NDCG,)), above)),
        Claim("Llama-2: Θ_0 has the highest P@10 and nDCG@10 on SciFact and SCIDOCS.", _pretrained_llama),
        Claim("The tuned α is at least .3 of every system, and at least .7 of T5 and Llama-2.", _alphas),
    ),
    "table2": (
        Claim("Θ' and Θ_T are above BM25, Θ_0 and Θ_D in every measure.",
              lambda figures: every(figures, [pair for variant in (FIXED, RANKER) for pair in
                                              _cells((MT5,), variant, (BM25, BASE, DOMAIN), TABLE2)], above)),
        Claim("Θ' is significantly better than the best baseline everywhere.",
              lambda figures: starred(figures, (MT5,), FIXED, TABLE2, LABELS)),
        Claim("Θ' is up to 18 % above Θ_T in nDCG@10, and up to about 15 % in P@10.", _gains),
        Claim("Neither Θ_0 nor Θ_D is above BM25.",
              lambda figures: every(figures, [pair for variant in (BASE, DOMAIN) for pair in
                                              _cells((MT5,), variant, (BM25,), TABLE2)],
                                    lambda ours, theirs: not above(ours, theirs))),
    ),
}


def told(claims: Iterable[Claim], ours: Figures, theirs: Figures) -> list[str]:
    """Returns a sentence for each claim: whether it holds here, and whether the paper's own figures have it."""
    words = {True: "holds", False: "does not hold", None: "cannot be told"}
    found = []
    for claim in claims:
        here, printed = claim.check(ours), claim.check(theirs)
        text = f"{claim.text} Here it {words[here.holds]} ({here.why})."
        if printed.holds is not True:
            text += f" Of the paper's printed figures it {words[printed.holds]} ({printed.why})."
        found.append(text)
    return found


def agreement(ours: Figures, theirs: Figures, within: float = 0.01) -> str:
    """Returns in words how many of our figures are near the paper's."""
    merged = ours.cells.merge(theirs.cells, on=["system", "variant", "dataset", "measure"], suffixes=("", "_paper"))
    known = merged.dropna(subset=["value", "value_paper"])
    near = known[(known["value"] - known["value_paper"]).abs() <= within + 1e-9]
    if not len(known):
        return "None of these figures is in the paper."
    by_system = {name: (int((near["system"] == name).sum()), len(rows)) for name, rows in known.groupby("system",
                                                                                                    sort=False)}
    parts = ", ".join(f"{name} {count} of {size}" for name, (count, size) in by_system.items())
    stars = int((known["star"] == known["star_paper"]).sum())
    return (f"{len(near)} of {len(known)} cells agree with the paper within {within:g} ({parts}). In {stars} of "
            f"{len(known)}, both or neither have a star.")


def curve_claims(ours: pd.DataFrame, theirs: pd.DataFrame) -> list[str]:
    """Returns a sentence for each claim of Table 3.

    Args:
        ours: Columns system, dataset, alpha, value.
        theirs: The paper's, in the same form.
    """
    found = []
    for text, check in CURVE_CLAIMS.items():
        here, printed = check(ours), check(theirs)
        words = {True: "holds", False: "does not hold", None: "cannot be told"}
        found.append(f"{text} Here it {words[here.holds]} ({here.why})."
                     + ("" if printed.holds else f" Of the paper's printed figures it {words[printed.holds]} "
                                                 f"({printed.why})."))
    return found


def _best(curves: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Returns (system, dataset) -> its best α, the largest of equal ones."""
    known = curves.dropna(subset=["value"])
    return {key: float(rows.loc[rows["value"] >= rows["value"].max() - 1e-9, "alpha"].max())
            for key, rows in known.groupby(["system", "dataset"])}


def _rarely_one(curves: pd.DataFrame) -> Verdict:
    best = _best(curves)
    if 1.0 not in set(curves["alpha"]):
        return Verdict(None, "α = 1 was not tried")
    at_one = sorted(" ".join(key) for key, alpha in best.items() if alpha == 1)
    return Verdict(4 * len(at_one) <= len(best), f"{len(at_one)} of {len(best)} curves are highest at 1")


def _varies(curves: pd.DataFrame) -> Verdict:
    rows = curves[(curves["system"] == "T5-base") & (curves["dataset"] == "SciFact")].set_index("alpha")["value"]
    if not {0.7, 1.0} <= set(rows.index):
        return Verdict(None, "no figures")
    gain = rows[0.7] / rows[1.0] - 1
    return Verdict(bool(gain >= 0.1), f"{rows[1.0]:.3f} to {rows[0.7]:.3f}, {gain:+.1%}")


def _no_single(curves: pd.DataFrame) -> Verdict:
    best = sorted(set(_best(curves).values()))
    if len(_best(curves)) < 2:
        return Verdict(None, "only one curve")
    return Verdict(len(best) > 1, "best α " + ", ".join(f"{alpha:g}" for alpha in best))


#: Of Table 3 (§5): claim -> its check on curves.
CURVE_CLAIMS: dict[str, Callable[[pd.DataFrame], Verdict]] = {
    "α = 1 rarely provides the best performance (at most a quarter of the curves).": _rarely_one,
    "On SciFact T5-base improves by about 12 % from α = 1 to α = .7 (at least 10 %).": _varies,
    "No single α is best for all systems and datasets.": _no_single,
}
