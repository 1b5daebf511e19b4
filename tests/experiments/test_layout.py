"""The tables to print: every cell in its place, "—" where there is none, four formats."""

import re

import pandas as pd
import pytest

from experiments.layout import beside, chosen_alphas, chosen_lambdas, curves_table, number, paper_layout
from experiments.measuring import Measured
from experiments.paper import FIXED, TUNED, Figures, printed, printed_curves
from experiments.protocol import Choice
from experiments.report import ENDINGS, Section, written


@pytest.fixture
def shifted():
    figures = printed("table1")
    return Figures(figures.cells.assign(value=figures.cells["value"] + 0.004), figures.alphas)


def test_the_paper_s_layout_has_the_paper_s_rows_and_columns():
    table = paper_layout(printed("table1"), ["a note"])
    assert [title for title in table.header if title] == ["Re-ranker", "Variant", "SciFact", "NFCorpus", "SCIDOCS",
                                                          "TREC-COVID"]
    assert len(table.rows) == 1 + 1 + 5 * 5
    assert [cell.text for cell in table.rows[0]][2:6] == ["P@10", "nDCG@3", "nDCG@10", "AP@100"]
    assert [cell.text for cell in table.rows[1]][:3] == ["BM25", "", ".091"]
    names = [row[0].text for row in table.rows if row[0].text]
    assert names == ["BM25", "Llama-2-7B", "T5-Large", "T5-base", "RoBERTa-base", "DistilBERT"]
    tuned = table.rows[16]
    assert [cell.text for cell in tuned][:6] == ["", "Θ': task arithmetic (α = 0.7)", ".098", ".702", ".748", ".708"]
    assert tuned[5].star and not tuned[4].star
    assert tuned[4].bold and not table.rows[14][4].bold
    assert table.rows[4][2].text == "—"


def test_ours_stand_beside_the_paper_s_with_differences(shifted):
    table = beside(shifted, printed("table1"), "TREC-COVID")
    assert table.header[:5] == ("TREC-COVID", "Variant", "P@10", "paper", "diff.")
    assert [cell.text for cell in table.rows[0]][2:5] == [".738", ".734", "+.004"]
    assert [cell.text for cell in table.rows[-1]][8:11] == [".769", ".765", "+.004"]
    llama = beside(shifted, printed("table1"), "SciFact").rows[3]
    assert [cell.text for cell in llama][:5] == ["", "Θ_T: MS-MARCO", "—", "—", "—"]


def test_a_report_is_written_in_every_format(shifted):
    sections = [Section("A & B", [paper_layout(shifted, ["* a note"])], ["one _sentence", "[two] < three"])]
    texts = {form: written(sections, form) for form in ENDINGS}
    assert all(".752" in text and "SciFact" in text for text in texts.values())
    assert texts["text"].startswith("A & B\n=====\n")
    assert r"\section*{A \& B}" in texts["latex"] and r"\item {}[two] \textless{} three" in texts["latex"]
    assert "<h2>A &amp; B</h2>" in texts["html"] and "[two] &lt; three" in texts["html"]
    assert "## A & B" in texts["markdown"]
    assert len(set(map(len, re.findall(r"^\|.*\|$", texts["markdown"], re.M)))) > 1


def measured(nearer: str) -> Measured:
    theirs = printed_curves()
    theirs = theirs[theirs["system"] == "DistilBERT"]
    off = {"alone": 0.05, "half": 0.05} | {nearer: 0.01}
    curves = pd.concat([theirs.assign(reading=reading, value=theirs["value"] + gap) for reading, gap in off.items()])
    lambdas = pd.DataFrame([("DistilBERT", "Θ_0", "SciFact", None, 1.0, 0.7), ("DistilBERT", TUNED, "SCIDOCS", 0.5, 0.5,
                                                                              float("nan"))],
                           columns=["system", "variant", "dataset", "alpha", "lambda", "value"])
    return Measured(printed("table1"), {"DistilBERT": Choice("DistilBERT", "alone", 0.5, curves)}, lambdas, {})


@pytest.mark.parametrize(("nearer", "word"), [("alone", "re-ranker alone"), ("half", ".5 BM25 + .5 re-ranker")])
def test_both_readings_are_told_with_the_nearer_one(nearer, word):
    row = chosen_alphas(measured(nearer), {"DistilBERT": 0.5}).rows[0]
    assert [cell.text for cell in row][0::5] == ["DistilBERT", "0.5"]
    assert row[-1].text == word
    assert {row[2].text, row[4].text} == {".010", ".050"}


def test_lambdas_are_listed():
    rows = [[cell.text for cell in row] for row in chosen_lambdas(measured("alone")).rows]
    assert rows == [["DistilBERT", "Θ_0", "1", "—"], ["DistilBERT", TUNED, "—", "0.5"]]


def test_table_3_has_ours_the_paper_s_and_the_difference():
    theirs = printed_curves()
    ours = theirs.assign(value=theirs["value"] - 0.002, reading="alone")
    table = curves_table(ours, theirs, "alone")
    assert len(table.rows) == 5 * 2 * 3
    assert [cell.text for cell in table.rows[12]][:4] == ["T5-base", "SciFact", "ours", ".710"]
    assert [cell.text for cell in table.rows[13]][9] == ".722" and table.rows[13][9].bold
    assert {cell.text for cell in table.rows[14][3:]} == {"-.002"}
    assert table.rows[4][4].text == "—"


def test_numbers_are_the_paper_s():
    assert [number(0.5), number(float("nan")), number(-0.0126, sign=True)] == [".500", "—", "-.013"]
    assert FIXED in printed("table2").names("variant")


def test_a_section_shows_itself_in_a_notebook_and_as_text(shifted):
    section = Section("Two & two", [beside(shifted, printed("table1"), "TREC-COVID")], ["A sentence."])
    assert section._repr_html_() == written([section], "html")
    assert "<h2>Two &amp; two</h2>" in section._repr_html_() and "<table" in section._repr_html_()
    assert repr(section) == str(section) == written([section], "text")
