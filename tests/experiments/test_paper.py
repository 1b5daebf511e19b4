"""The paper's printed figures: complete, in range, and in agreement with each other."""

import json
import math
import os
import re
from itertools import product
from pathlib import Path

import pytest

from experiments.datasets import DATASETS
from experiments.paper import BM25, FIXED, PRINTED, TUNED, Figures, printed, printed_curves, remarks
from experiments.protocol import MEASURES, best_alpha
from experiments.systems import SYSTEMS

VARIANTS = {"table1": ["Θ_0", "Θ_D", "Θ_T", FIXED, TUNED], "table2": ["Θ_0", "Θ_D", "Θ_T", FIXED]}


def expected_cells(table: str) -> set[tuple[str, ...]]:
    """Returns the cells that the declared systems and datasets make."""
    wanted = [dataset for dataset in DATASETS if (dataset.target == "biomedical") == (table == "table1")]
    systems = [system.name for system in SYSTEMS if wanted[0].target in system.domains]
    rows = [(BM25, BM25), *product(systems, VARIANTS[table])]
    return {(system, variant, dataset.name, str(measure))
            for (system, variant), dataset, measure in product(rows, wanted, MEASURES)}


@pytest.mark.parametrize(("table", "missing", "starred"), [("table1", 1, 12), ("table2", 1, 16)])
def test_every_system_variant_dataset_and_measure_is_there_once(table, missing, starred):
    figures = printed(table)
    assert set(figures.cells[["system", "variant", "dataset", "measure"]].itertuples(index=False, name=None)) == (
        expected_cells(table))
    values = figures.cells["value"]
    assert values.isna().sum() == missing
    assert values.dropna().between(0.01, 0.9).all()
    assert figures.cells["star"].sum() == starred


def test_figures_are_typed_as_the_paper_s_text_has_them():
    # Cells read off the text by eye, from the corners and the middle of each table.
    first, second = printed("table1"), printed("table2")
    assert first.value(BM25, BM25, "SciFact", "P@10") == .091
    assert first.value("any system", BM25, "TREC-COVID", "AP@100") == .085
    assert first.value("Llama-2-7B", "Θ_0", "TREC-COVID", "nDCG@3") == .845
    assert math.isnan(first.value("Llama-2-7B", "Θ_T", "SciFact", "P@10"))
    assert first.value("Llama-2-7B", "Θ_T", "SciFact", "nDCG@3") == .724
    assert first.value("Llama-2-7B", TUNED, "SciFact", "P@10") == .097
    assert first.value("T5-Large", "Θ_T", "TREC-COVID", "nDCG@3") == .805
    assert first.value("T5-base", FIXED, "SCIDOCS", "nDCG@10") == .136
    assert first.value("DistilBERT", TUNED, "TREC-COVID", "nDCG@10") == .765
    assert first.starred("T5-base", TUNED, "SciFact", "AP@100")
    assert not first.starred("T5-base", TUNED, "SciFact", "nDCG@10")
    assert math.isnan(second.value(BM25, BM25, "GermanQuAD", "P@10"))
    assert second.value("mT5-base", FIXED, "GermanQuAD", "AP@100") == .487
    assert second.value("mT5-base", FIXED, "MIRACL English", "nDCG@10") == .435
    assert second.value("mT5-base", "Θ_D", "MIRACL French", "P@10") == .045


def test_what_is_missing_doubtful_or_repaired_is_marked():
    content = json.loads(PRINTED.read_text())
    nulls = {(table, system, variant, dataset, content["measures"][place])
             for table in ("table1", "table2") for system, variants in content[table].items()
             for variant, datasets in variants.items() for dataset, values in datasets.items()
             for place, value in enumerate(values) if value is None}
    assert nulls == {tuple(cell) for cell in content["missing"]}
    for table, system, variant, dataset, measure, text in content["repaired"]:
        digits = re.sub(r"\D", "", text)
        assert printed(table).value(system, variant, dataset, measure) == float(f"0.{digits}")
        assert "." not in text
    [(_, system, dataset, alpha, _)] = content["doubtful"]
    curves = printed_curves()
    assert curves[curves["value"].isna()][["system", "dataset", "alpha"]].values.tolist() == [[system, dataset, alpha]]
    assert [len(remarks(table)) for table in ("table1", "table2", "table3")] == [2, 3, 1]


def test_averaging_table_3_gives_table_1_s_alphas():
    curves = printed_curves()
    means = curves.pivot(index="alpha", columns=["system", "dataset"], values="value").T.groupby("system").mean().T
    for system, alpha in printed("table1").alphas.items():
        mean = means[system].copy()
        if curves.loc[curves["system"] == system, "value"].isna().any():  # an average of one set is none
            mean[0.2] = float("nan")
        assert best_alpha(mean) == alpha
    tied = means["DistilBERT"]
    assert tied[0.1] == pytest.approx(tied[0.5], abs=1e-12)
    assert tied[0.5] == pytest.approx(tied.max(), abs=1e-12)


def test_the_alphas_are_those_that_the_systems_declare():
    assert printed("table1").alphas == {system.name: system.paper_alpha for system in SYSTEMS
                                        if system.paper_alpha is not None}


def test_table_3_has_ten_alphas_of_both_development_sets():
    curves = printed_curves()
    assert curves.groupby(["system", "dataset"])["alpha"].agg(list).map(
        lambda found: found == [step / 10 for step in range(1, 11)]).all()
    assert curves["dataset"].unique().tolist() == ["SciFact", "NFCorpus"]
    assert curves["value"].dropna().between(0.2, 0.75).all()


def test_a_cell_given_twice_is_an_error():
    figures = printed("table1")
    with pytest.raises(ValueError, match="occurs twice"):
        Figures(figures.cells.iloc[[0, 1, 0]], {})


@pytest.mark.skipif("TASKARITH_SHARED" not in os.environ, reason="the paper's text is not part of the project")
@pytest.mark.parametrize("table", ["table1", "table2"])
def test_every_row_is_the_text_s(table):
    lines = (Path(os.environ["TASKARITH_SHARED"]) / "paper.txt").read_text().split("\n")
    content = json.loads(PRINTED.read_text())[table]
    rows = [[value for values in datasets.values() for value in values]
            for variants in content.values() for datasets in variants.values()]
    for row in rows:
        digits = [f"{1000 * value:03.0f}" for value in row if value is not None]
        assert any([cell.strip(" .*$)") for cell in line.split("\t") if cell.strip()][-len(digits):][1:] == digits[1:]
                   and digits[0] in line for line in lines), row
