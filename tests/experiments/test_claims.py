"""The paper's claims on its own figures, and what a changed figure does to them."""

import pandas as pd
import pytest

from experiments.claims import CLAIMS, CURVE_CLAIMS, agreement, curve_claims, told
from experiments.paper import FIXED, RANKER, TUNED, Figures, printed, printed_curves

#: What the paper's own tables do not show, by how the claim begins.
NOT_IN_THE_TABLES = ("T5: Θ' with α tuned is significantly better in nDCG@10", "Llama-2: Θ_0 has the highest")


def changed(figures: Figures, cell: tuple[str, ...], value: float | None = None, star: bool | None = None) -> Figures:
    cells = figures.cells.copy()
    row = (cells[["system", "variant", "dataset", "measure"]] == list(cell)).all(axis=1)
    assert row.sum() == 1
    if value is not None:
        cells.loc[row, "value"] = value
    if star is not None:
        cells.loc[row, "star"] = star
    return Figures(cells, figures.alphas)


@pytest.mark.parametrize("table", ["table1", "table2"])
def test_the_claims_hold_of_the_printed_figures_but_for_two(table):
    figures = printed(table)
    failing = [claim.text for claim in CLAIMS[table] if claim.check(figures).holds is not True]
    expected = NOT_IN_THE_TABLES if table == "table1" else ()
    assert len(failing) == len(expected)
    assert all(text.startswith(begin) for text, begin in zip(failing, expected, strict=True))


@pytest.mark.parametrize(("number", "cell", "value", "star"), [
    (0, ("DistilBERT", FIXED, "SciFact", "nDCG@10"), 0.9, None),
    (1, ("T5-base", TUNED, "SCIDOCS", "P@10"), 0.01, None),
    (2, ("RoBERTa-base", TUNED, "NFCorpus", "AP@100"), 0.162, None),
    (3, ("DistilBERT", TUNED, "TREC-COVID", "AP@100"), None, False),
    (4, ("T5-Large", RANKER, "SCIDOCS", "nDCG@10"), 0.187, None),
    (5, ("T5-Large", RANKER, "SciFact", "nDCG@10"), 0.75, None),
    (6, ("T5-base", TUNED, "TREC-COVID", "AP@100"), None, False),
    (8, ("Llama-2-7B", RANKER, "TREC-COVID", "nDCG@10"), 0.812, None),
])
def test_a_changed_figure_breaks_a_claim_of_table_1(number, cell, value, star):
    claim = CLAIMS["table1"][number]
    assert claim.check(printed("table1")).holds
    assert claim.check(changed(printed("table1"), cell, value, star)).holds is False


@pytest.mark.parametrize(("number", "cell", "value", "star"), [
    (0, ("mT5-base", "Θ_D", "MIRACL French", "nDCG@3"), 0.3, None),
    (1, ("mT5-base", FIXED, "MIRACL French", "P@10"), None, False),
    (2, ("mT5-base", RANKER, "MIRACL French", "nDCG@10"), 0.27, None),
    (3, ("mT5-base", "Θ_0", "GermanQuAD", "AP@100"), 0.4, None),
])
def test_a_changed_figure_breaks_a_claim_of_table_2(number, cell, value, star):
    assert CLAIMS["table2"][number].check(changed(printed("table2"), cell, value, star)).holds is False


def test_claims_about_systems_that_were_not_run_cannot_be_told():
    figures = printed("table1")
    some = Figures(figures.cells[figures.cells["system"].isin(["BM25", "DistilBERT"])], {"DistilBERT": 0.5})
    verdicts = [claim.check(some).holds for claim in CLAIMS["table1"]]
    assert verdicts == [True, True, True, True, None, None, None, None, None, None, True]
    assert "Here it cannot be told (no figures)" in told(CLAIMS["table1"], some, figures)[4]


def test_claims_are_told_with_what_decides():
    figures = printed("table1")
    sentences = told(CLAIMS["table1"], changed(figures, ("T5-base", TUNED, "SCIDOCS", "P@10"), 0.01), figures)
    assert "Here it does not hold (79 of 80; not T5-base Θ' (α tuned) SCIDOCS P@10: 0.010 against 0.086 of BM25)" in (
        sentences[1])
    assert "Of the paper's printed figures it does not hold (1 of 4; no star:" in sentences[7]


def test_the_claims_of_table_3_hold_of_its_figures():
    curves = printed_curves()
    assert all(check(curves).holds for check in CURVE_CLAIMS.values())
    flat = curves.assign(value=[0.7 if alpha == 1 else 0.5 for alpha in curves["alpha"]])
    assert [check(flat).holds for check in CURVE_CLAIMS.values()] == [False, False, False]
    assert all("does not hold" in sentence for sentence in curve_claims(flat, curves))
    assert CURVE_CLAIMS[list(CURVE_CLAIMS)[1]](curves[curves["system"] == "DistilBERT"]).holds is None


def test_claims_on_curves_cannot_be_told_without_their_alphas_or_with_one_curve():
    curves = printed_curves()
    shorter = [check(curves[curves["alpha"] < 1]) for check in CURVE_CLAIMS.values()]
    assert [verdict.holds for verdict in shorter] == [None, None, True]
    one = curves[(curves["system"] == "T5-base") & (curves["dataset"] == "NFCorpus")]
    assert [check(one).holds for check in CURVE_CLAIMS.values()][1:] == [None, None]


def test_agreement_counts_cells_within_a_hundredth():
    figures = printed("table2")
    assert agreement(figures, figures).startswith("79 of 79 cells agree with the paper within 0.01")
    cells = figures.cells.copy()
    cells.loc[cells["dataset"] == "GermanQuAD", "value"] += 0.0101
    cells.loc[cells["dataset"] == "MIRACL French", "value"] -= 0.01
    text = agreement(Figures(cells, {}), figures)
    assert text.startswith("60 of 79 cells agree")
    assert "BM25 12 of 15, mT5-base 48 of 64" in text
    assert "In 79 of 79, both or neither have a star" in text
    none = Figures(pd.DataFrame([("Mine", "Θ_0", "Other", "P@10", 0.5, False)], columns=cells.columns), {})
    assert agreement(none, figures) == "None of these figures is in the paper."
