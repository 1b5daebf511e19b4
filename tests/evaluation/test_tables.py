"""The table in its four formats: digits, stars, bold, alignment, escapes, notes."""

import xml.etree.ElementTree as ElementTree

import pandas as pd
import pytest

from pyterrier_taskarith.evaluation import compare, from_experiment
from pyterrier_taskarith.tables import decimal, display_width, interval, latex, markdown, p_value

NOTE = ("significantly better than the best of BM25 and Θ_T in that measure: two-sided paired Student's t-test, "
        "Bonferroni over 1 comparison in each measure, 95 % confidence, 12 queries.")


@pytest.fixture
def comparison():
    """Means .5, .583 and .958 in P@1; 1.000, .333 and 1.000 in m_2, where nothing is significant."""
    values = {
        "BM25": ([0, 1] * 6, [1] * 12),
        "Θ_T": ([0, 1] * 5 + [1, 1], [0, 0, 1] * 4),
        "Θ' (α=.7)": ([1] * 11 + [.5], [1] * 12),
    }
    rows = [(name, f"q{query}", measure, float(value)) for name, columns in values.items()
            for measure, column in zip(("P@1", "m_2"), columns, strict=True) for query, value in enumerate(column)]
    frame = pd.DataFrame(rows, columns=["name", "qid", "measure", "value"])
    return from_experiment(frame, baselines=["BM25", "Θ_T"], confidence=.95)


def test_text(comparison):
    assert comparison.to_text() == (
        "            P@1     m_2\n"
        "BM25       .500   1.000\n"
        "Θ_T        .583    .333\n"
        "Θ' (α=.7)  .958*  1.000\n"
        f"* {NOTE}")
    assert str(comparison) == repr(comparison) == comparison.to_text()


def test_text_with_the_tests(comparison):
    _, tests = comparison.to_text(details=True).split("\n\n")
    lines = tests.splitlines()
    assert lines[0].split("  ")[0] == ""
    assert lines[1].startswith("Θ' (α=.7)  P@1      Θ_T                 +.375*  [+.0")
    assert lines[2].startswith("Θ' (α=.7)  m_2      BM25                +.000   [+.0")
    assert "n/a" in lines[2] and "0/12/0" in lines[2]
    assert lines[-1].startswith("Student's t intervals of the mean difference, at 95 % each, 95 % over all")
    ends = {len(line) for line in lines[:-1]}
    assert len(ends) == 1, "the last column, of numbers, ends where its title ends"


@pytest.mark.parametrize("names", [["Θ_0", "Θ̂'", "検索 ranker", "a"], ["BM25", "Θ₀", "x" * 30, "Θ′ₜ"]])
def test_text_lines_up_whatever_the_names(names):
    rows = [(name, str(query), measure, (query + len(name)) % 3 / 2) for name in names for query in range(5)
            for measure in ("P@1", "nDCG@10")]
    frame = pd.DataFrame(rows, columns=["name", "qid", "measure", "value"])
    lines = from_experiment(frame, baselines=names[:1]).to_text().splitlines()[:5]
    assert len({display_width(line) for line in lines}) == 1


def test_markdown(comparison):
    lines = comparison.to_markdown().splitlines()
    assert lines[:5] == [
        "|  | P@1 | m_2 |",
        "| --- | ---: | ---: |",
        "| BM25 | .500 | **1.000** |",
        "| Θ_T | .583 | .333 |",
        r"| Θ' (α=.7) | **.958**\* | **1.000** |",
    ]
    assert lines[6] == r"\* " + NOTE


def test_latex(comparison):
    text = comparison.to_latex()
    assert text.splitlines()[:9] == [
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r" & P@1 & m\_2 \\",
        r"\midrule",
        r"BM25 & .500 & \textbf{1.000} \\",
        r"$\Theta_{T}$ & .583 & .333 \\",
        r"$\Theta'$ ($\alpha$=.7) & \textbf{.958}* & \textbf{1.000} \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    assert r"95 \% confidence, 12 queries." in text
    assert text.isascii()
    assert text.count("{") == text.count("}")


def test_html(comparison):
    table = ElementTree.fromstring(f"<div>{comparison.to_html(details=True)}</div>")
    first = [[("".join(cell.itertext()), cell.find("b") is not None) for cell in row] for row in table[0].iter("tr")]
    assert first == [
        [("", False), ("P@1", False), ("m_2", False)],
        [("BM25", False), (".500", False), ("1.000", True)],
        [("Θ_T", False), (".583", False), (".333", False)],
        [("Θ' (α=.7)", False), (".958*", True), ("1.000", True)],
    ]
    assert table[1].text == "* " + NOTE
    assert comparison._repr_html_() == comparison.to_html()


def test_names_that_are_markup_stay_names(hits):
    qrels, one = hits([1, 0, 0])
    _, other = hits([1, 1, 0])
    result = compare({"<b>a|b</b>": one, "50% & $x_1$": other}, qrels, "P_1")
    assert r"\<b\>a\|b\</b\>" in result.to_markdown()
    assert r"50\% \& \$x\_1\$" in result.to_latex()
    texts = [cell.text for cell in ElementTree.fromstring(f"<div>{result.to_html()}</div>").iter("th")]
    assert "<b>a|b</b>" in texts and "50% & $x_1$" in texts


def test_latex_takes_no_name_for_an_argument_of_the_row_before(hits):
    qrels, one = hits([1, 0, 0])
    _, other = hits([1, 1, 0])
    rows = compare({"[1] a": one, "* b": other}, qrels, "P_1").to_latex().splitlines()
    assert rows[4].startswith("{}[1] a & ") and rows[5].startswith("{}* b & ")
    assert not any(line.startswith(("[", "*")) for line in rows[:7])


def test_a_line_break_in_a_name_breaks_no_row(hits):
    qrels, one = hits([1, 0, 0])
    _, other = hits([1, 1, 0])
    broken, whole = (compare({f"BM25{gap}(k1 = 1)": one, f"Θ'{gap}tuned": other}, qrels, "P_1") for gap in ("\n", " "))
    for written in ("to_text", "to_markdown", "to_latex", "to_html"):
        assert getattr(broken, written)(details=True) == getattr(whole, written)(details=True)
    assert broken.in_words() == whole.in_words()


def test_one_baseline_and_one_query_are_said_in_the_singular(hits):
    qrels, one = hits([0])
    _, other = hits([1])
    text = compare({"BM25": one, "Θ'": other}, qrels, "P_1").to_text()
    assert "* significantly better than BM25: two-sided" in text
    assert text.endswith("1 query.")


@pytest.mark.parametrize(("value", "text"), [
    (.7011, ".701"), (1., "1.000"), (0., ".000"), (-.0124, "-.012"), (-.0001, ".000"), (12.5, "12.500"),
    (float("nan"), "n/a"), (float("inf"), "inf"), (.3325, ".333"), (.33249999999999996, ".333")])
def test_numbers_have_three_decimals_and_no_leading_zero(value, text):
    assert decimal(value) == text


def test_signs_intervals_and_p_values():
    assert [decimal(value, sign=True) for value in (.5, -.5, 0.)] == ["+.500", "-.500", "+.000"]
    assert interval(-.0021, .0104) == "[-.002, +.010]"
    assert interval(float("nan"), float("nan")) == "n/a"
    assert [p_value(p) for p in (0, 1e-9, .00006, .0123, 1., float("nan"))] == [
        "<.0001", "<.0001", ".0001", ".0123", "1.0000", "n/a"]


@pytest.mark.parametrize(("name", "expected"), [
    ("Θ_T", r"$\Theta_{T}$"), ("Θ'", r"$\Theta'$"), ("Θ′ (α = 1)", r"$\Theta'$ ($\alpha$ = 1)"),
    ("Θ₁₀", r"$\Theta_{10}$"),
    ("Θ_T + λτ_D", r"$\Theta_{T}$ + $\lambda$$\tau_{D}$"), ("ndcg_cut_10", r"ndcg\_cut\_10"),
    (r"a\b~c^d#{e}", r"a\textbackslash{}b\textasciitilde{}c\textasciicircum{}d\#\{e\}"),
    ("<.0001 a|b >", r"\textless{}.0001 a\textbar{}b \textgreater{}")])
def test_latex_names(name, expected):
    assert latex(name) == expected


@pytest.mark.parametrize(("name", "expected"), [
    ("Θ_T ndcg_cut_10", "Θ_T ndcg_cut_10"), ("_private_", r"\_private\_"), ("`a` *b* ~c~", r"\`a\` \*b\* \~c\~"),
    ("[-.1, +.2]", "[-.1, +.2]"), ("[text](url)", r"[text\](url)"),
    ("R&D &lt; &#39; x", r"R&D \&lt; \&#39; x")])
def test_markdown_names(name, expected):
    assert markdown(name) == expected
