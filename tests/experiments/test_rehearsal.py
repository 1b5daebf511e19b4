"""Every table with small models; and that the audit sees what random models would hide."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from experiments import protocol, scoring
from experiments.command import main, run
from experiments.datasets import DATASETS, Dataset
from experiments.layers import ablations, layers
from experiments.loading import load
from experiments.options import make_parser, requested
from experiments.rehearsal.audit import AuditError
from experiments.rehearsal.rehearsing import SIMILAR, stand_ins
from experiments.rehearsal.small_collections import docstring_collections, make_collections
from experiments.runs import sha256
from experiments.systems import SYSTEMS, Model
from experiments.table1 import table1
from experiments.table3 import table3
from pyterrier_taskarith import Mix
from pyterrier_taskarith.data import Collection, Texts
from tests.experiments.small import overlap, rehearsal

ROOT = Path(__file__).parents[2]
FAMILIES = ["DistilBERT", *(pytest.param(name, marks=pytest.mark.slow) for name in ("T5-base", "Llama-2-7B"))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("paper")


@pytest.mark.slow
@pytest.mark.java
@pytest.mark.parametrize(("name", "titles"), [
    ("table1", ["Table 1, our figures", "TREC-COVID: ours, the paper's, difference", "α", "λ"]),
    ("table2", ["Table 2, our figures", "MIRACL French: ours, the paper's, difference"]),
    pytest.param("table3", ["Table 3, re-ranker alone", "Table 3, .5 BM25 + .5 re-ranker"], marks=pytest.mark.long),
    pytest.param("layers", ["T5-Large: layers, α = "], marks=pytest.mark.long),
])
def test_a_command_rehearses_its_table_with_bm25_and_all_its_systems(folder, name, titles):
    command = [sys.executable, "-m", f"experiments.{name}", "--rehearse", "--folder", str(folder), "--device", "cpu"]
    text = subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    for title in ["A rehearsal", *titles]:
        assert title in text
    systems = ["mT5-base"] if name == "table2" else [system.name for system in SYSTEMS[:-1]]
    assert all(system in text for system in systems)
    audits = (folder / "log.txt").read_text().split(f" {name}: systems")[1].count("audit: ")
    assert audits == (len(systems) if name == "layers" else 1)
    assert name == "layers" or "The paper's claims" in text
    assert not re.search(r"\bnan\b|n/a", text)
    assert (folder / f"{name}.txt").read_text() == text


@pytest.mark.parametrize("system", FAMILIES)
def test_swapped_weights_fail_the_rehearsal(tmp_path, monkeypatch, system):
    monkeypatch.setattr(scoring, "VARIANTS", {"Θ_0": "domain", "Θ_D": "base", "Θ_T": "ranker"})
    with pytest.raises(AuditError, match="Θ_0, SCIDOCS: the run has"):
        small(tmp_path, system)


@pytest.mark.parametrize("system", FAMILIES)
def test_another_alpha_fails_the_rehearsal(tmp_path, monkeypatch, system):
    original = scoring.Workbench._at
    monkeypatch.setattr(scoring.Workbench, "_at", lambda bench, system, target, variant, alpha: original(
        bench, system, target, variant, None if alpha is None else alpha + 0.05))
    with pytest.raises(AuditError, match="Θ' .*the run has"):
        small(tmp_path, system)


@pytest.mark.slow
def test_another_alpha_fails_the_rehearsal_of_table_3(tmp_path, monkeypatch):
    original = scoring.Workbench._at
    monkeypatch.setattr(scoring.Workbench, "_at", lambda bench, system, target, variant, alpha: original(
        bench, system, target, variant, 0.6 if alpha == 0.5 else alpha))
    with pytest.raises(AuditError, match="Θ' at α = 0.5, SciFact: the run has"):
        run("table3", table3, rehearsal(tmp_path, systems=["RoBERTa-base"], limit=4), first=overlap)


@pytest.mark.slow
@pytest.mark.parametrize("system", FAMILIES)
def test_another_layer_fails_the_rehearsal_of_the_ablation(tmp_path, monkeypatch, system):
    original = scoring.Workbench._at

    def wrong(bench, system, target, variant, alpha):
        if isinstance(alpha, dict):  # the task vector in all but one layer, for in that one only
            default, (place, value) = alpha["default"], list(alpha.items())[1]
            alpha = {"default": value, place: default}
        return original(bench, system, target, variant, alpha)

    monkeypatch.setattr(scoring.Workbench, "_at", wrong)
    with pytest.raises(AuditError, match="Θ' at α = .'default': 0.0, 'embeddings'.*the run has"):
        run("layers", layers, rehearsal(tmp_path, systems=[system], limit=3), first=overlap)


def test_alpha_is_chosen_from_what_is_given(tmp_path):
    text = run("table1", table1, replace(rehearsal(tmp_path, systems=["DistilBERT"], datasets=["SCIDOCS"], limit=4),
                                         alphas=(0.3, 0.5)), first=overlap)
    assert re.search(r"task arithmetic \(α = 0\.[35]\)", text)
    made = {path.name.removesuffix(".json") for path in (tmp_path / "runs_first_4" / "scifact" / "dev" /
                                                         "distilbert").glob("*.json")}
    assert made == {"alpha_0.3", "alpha_0.5"}


def options(*given):
    return requested(make_parser("table1", "").parse_args(given))


def test_an_alpha_list_must_have_the_papers():
    assert options("--alphas", "1,0.5", "--systems", "DistilBERT").alphas == (0.5, 1.0)
    with pytest.raises(ValueError, match=r"--alphas lacks 0\.8 \(Llama-2-7B\), 0\.9 \(T5-Large\), 0\.7"):
        options("--alphas", "0.5,1")


@pytest.mark.parametrize("given", ["", "0.5,,1", "0.5,0.5", "nan", "half"])
def test_alphas_that_are_no_numbers_are_refused(given, capsys):
    with pytest.raises(SystemExit):
        options("--alphas", given)
    assert "argument --alphas" in capsys.readouterr().err


def test_lambda_for_its_complement_fails_the_rehearsal_in_the_fusion(tmp_path, monkeypatch):
    monkeypatch.setattr(protocol, "Mix", lambda reranker, weight: Mix(reranker, 1 - weight))
    # SCIDOCS has λ = .5, where the two are one.
    with pytest.raises(AuditError, match="SCIDOCS, λ = 0.1, document"):
        small(tmp_path, "DistilBERT")


@pytest.mark.slow
def test_lambda_for_its_complement_fails_the_rehearsal_in_the_tuning(tmp_path, monkeypatch):
    original = protocol.sweep_runs
    monkeypatch.setattr(protocol, "sweep_runs", lambda *frames, weights, **options: original(
        *frames, weights=[1 - weight for weight in weights], **options))
    with pytest.raises(AuditError, match="alone, α = "):
        small(tmp_path, "DistilBERT")


@pytest.mark.slow
def test_the_smallest_of_equal_alphas_fails_the_rehearsal(tmp_path, monkeypatch):
    original = protocol.best_alpha
    monkeypatch.setattr(protocol, "best_alpha", lambda means: 0.1 if original(means) != 0.1 else 0.2)
    with pytest.raises(AuditError, match="DistilBERT: α: 0"):
        small(tmp_path, "DistilBERT")


def test_without_a_mistake_the_rehearsal_passes(tmp_path):
    for system in ("RoBERTa-base", "T5-base"):
        small(tmp_path, system)
    assert (tmp_path / "log.txt").read_text().count("audit: 15 scores") == 2


def test_an_audit_has_nothing_to_say_of_how_models_are_loaded(tmp_path, capfd):
    small(tmp_path, "DistilBERT")
    assert "audit: " in (told := capfd.readouterr().err)
    assert not re.search("load|missing", told, re.IGNORECASE)


def small(folder: Path, system: str) -> str:
    request = rehearsal(folder, systems=[system], datasets=["SCIDOCS"], limit=4)
    return run("table1", table1, request, first=overlap)


@pytest.mark.slow
def test_layers_are_ablated_one_by_one(tmp_path):
    rows = ablations(["embeddings", "0", "1"], 0.7)
    assert list(rows) == ["none (Θ_T)", "all", "only embeddings", "only 0", "only 1", "all but embeddings",
                          "all but 0", "all but 1"]
    assert rows["only 1"] == ("Θ'", {"default": 0.0, "1": 0.7})
    assert rows["all but 0"] == ("Θ'", {"default": 0.7, "0": 0.0})
    text = run("layers", layers, rehearsal(tmp_path, systems=["T5-base"], limit=3), first=overlap)
    found = re.findall(r"^(only|all but) (\S+) ", text, re.M)
    places = ["embeddings", "decoder.0", "decoder.1", "encoder.0", "encoder.1", "other"]
    assert [place for kind, place in found if kind == "only"] == places
    assert [place for kind, place in found if kind == "all but"] == places


@pytest.mark.slow
def test_the_limit_and_the_whole_have_files_of_their_own(tmp_path):
    small(tmp_path, "DistilBERT")
    assert (tmp_path / "table1_first_4.txt").is_file()
    assert not (tmp_path / "table1.txt").exists()
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_on_collections_one_real_triple_stands_in_for_all(tmp_path):
    make_collections([replace(dataset, folder=SIMILAR.get(dataset.name, dataset.folder)) for dataset in DATASETS[:2]],
                     tmp_path / "collections")
    given = make_parser("table1", "").parse_args([
        "--rehearse", "--folder", str(tmp_path / "paper"), "--collections", str(tmp_path / "collections"),
        "--limit-queries", "3", "--device", "cpu"])
    request = requested(given)
    assert [(dataset.name, dataset.folder) for dataset in request.datasets] == [("SciFact", "scifact"),
                                                                               ("cran", "cran")]
    text = run("table1", table1, request, first=overlap)
    assert ("Collections: SciFact, cran in the place of NFCorpus; with development queries: SciFact, cran in the place "
            "of NFCorpus.") in text
    assert "Small BERT" in text
    assert "None of these figures" not in text  # BM25's on SciFact are
    assert re.search(r"^BM25  .*—", text.split("cran: ours, the paper's")[1], re.M)  # NFCorpus's are no peer of cran's
    # SciFact and NFCorpus, three rows of each of five variants.
    assert "audit: 30 scores" in (tmp_path / "paper" / "log.txt").read_text()
    given.collections = tmp_path / "paper"
    with pytest.raises(ValueError, match="holds none of the collections scifact, nfcorpus"):
        requested(given)


def test_docstrings_of_each_package_are_a_collection(tmp_path, monkeypatch):
    documents = pd.DataFrame([("numpy.sum", "Sum of\nelements."), ("numpy", "Arrays."), ("scipy.fft", "Transforms.")],
                             columns=["docno", "text"])
    topics = {"dev": pd.DataFrame({"qid": ["a", "b"], "query": ["add it up", "of both"]}),
              "test": pd.DataFrame({"qid": ["c", "d"], "query": ["grids of numbers", "frequencies"]})}
    qrels = {split: pd.DataFrame(rows, columns=["qid", "docno", "label"]) for split, rows in {
        "dev": [("a", "numpy.sum", 1), ("b", "numpy.sum", 1), ("b", "scipy.fft", 1)],
        "test": [("c", "numpy", 1), ("c", "numpy.sum", 2), ("d", "scipy.fft", 1)]}.items()}
    monkeypatch.setattr("experiments.rehearsal.small_collections.build_collection",
                        lambda folder: Collection("docstrings", Texts(documents), topics, qrels))
    docstring_collections(tmp_path)
    loaded = load(Dataset("SciFact", "numpy", "biomedical", development_folder="numpy_dev"), tmp_path)
    assert list(loaded.documents.pairs()) == [("numpy.sum", "Sum of\nelements."), ("numpy", "Arrays.")]
    assert loaded.topics["dev"].to_numpy().tolist() == [["a", "add it up"]]  # b is of two packages
    assert loaded.qrels["test"][["qid", "docno", "label"]].to_numpy().tolist() == [["c", "numpy", 1],
                                                                                  ["c", "numpy.sum", 2]]
    assert (tmp_path / "scipy" / "queries.tsv").read_text() == "d\tfrequencies\n"
    assert (tmp_path / "scipy_dev" / "queries.tsv").read_text() == ""


@pytest.mark.slow
def test_a_stored_run_takes_the_place_of_the_first_stage(tmp_path):
    text = small(tmp_path / "one", "DistilBERT")
    stored = tmp_path / "one" / "runs_first_4" / "scidocs" / "test" / "bm25.run.gz"

    def others(loaded, folder):
        assert loaded.dataset.name != "SCIDOCS"
        return overlap(loaded, folder)

    request = rehearsal(tmp_path / "two", systems=["DistilBERT"], datasets=["SCIDOCS"], limit=4,
                        runs={"SCIDOCS": stored})
    told = run("table1", table1, request, first=others)
    assert "- SCIDOCS, test: what is called BM25 is the stored run bm25.run.gz.\n" in told
    assert told.endswith(text.split("Table 1, our figures")[1])
    made = tmp_path / "two" / "runs_first_4" / "scidocs" / "test" / "bm25.json"
    assert json.loads(made.read_text())["recipe"]["first_stage"]["run"] == sha256(stored)


@pytest.mark.parametrize(("given", "message"), [
    ("SCIDOCS", "write DATASET=FILE"), ("SCIDOCS=", "write DATASET=FILE"),
    ("Scidox=setup.py", "unknown dataset 'Scidox'"),
    ("SCIDOCS=nowhere.run", "there is no such file")])
def test_a_run_that_is_not_there_is_refused(tmp_path, given, message):
    options = make_parser("table1", "").parse_args(["--folder", str(tmp_path), "--run", given])
    with pytest.raises(ValueError, match=message):
        requested(options)


def test_what_the_user_can_mend_is_one_line_and_finished_runs_stay(tmp_path, capsys, monkeypatch):
    small(tmp_path, "DistilBERT")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.run.gz")}
    assert len(before) > 10
    mine = tmp_path / "mine.py"
    mine.write_text("from experiments.systems import *\n"
                    "mine = Model(str('nobody/such-a-model'))\n"
                    "SYSTEMS = [System('Mine', mine, mine, {'biomedical': mine}, 'bi-encoder')]\n")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SystemExit) as stopped:
        main("table1", "", table1, ["--folder", str(tmp_path), "--systems", "Mine", "--datasets", "SCIDOCS", "--device",
                                    "cpu", "--limit-queries", "4", "--declarations", str(mine), "--collections",
                                    str(tmp_path / "rehearsal" / "collections"), "--run",
                                    f"SCIDOCS={tmp_path / 'runs_first_4' / 'scidocs' / 'test' / 'bm25.run.gz'}"])
    assert stopped.value.code == 1
    told = capsys.readouterr().err
    assert "table1: nobody/such-a-model" in told and "Traceback" not in told
    assert told.endswith(f"Finished runs stay in {tmp_path}; the same command goes on from there.\n")
    assert ": nobody/such-a-model" in (tmp_path / "log.txt").read_text()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.run.gz")} == before


@pytest.mark.parametrize(("content", "message"), [
    (None, "FileNotFoundError"), ("SYSTEMS = (", "SyntaxError"), ("SYSTEM = []", "neither SYSTEMS nor DATASETS"),
    ("from experiments.datasets import Dataset\nDATASETS = Dataset('A', 'a', 'b')", "DATASETS must be a list"),
    ("SYSTEMS = ['T5']", "SYSTEMS must be a list of System")])
def test_a_mistake_in_a_file_of_declarations_is_told_in_a_line(tmp_path, capsys, content, message):
    path = tmp_path / "mine.py"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SystemExit) as stopped:
        main("table1", "", table1, ["--folder", str(tmp_path), "--declarations", str(path)])
    assert stopped.value.code == 2
    assert re.search(rf"--declarations .*mine\.py: .*{message}", capsys.readouterr().err)


def test_an_error_of_the_program_shows_its_traceback_and_another_status(tmp_path, capsys):
    def table(*_):
        raise KeyError("ours")

    with pytest.raises(SystemExit) as stopped:
        main("table1", "", table, ["--folder", str(tmp_path), "--systems", "DistilBERT"])
    told = capsys.readouterr().err
    assert stopped.value.code == 70 and "Traceback" in told and "report it" in told
    assert "table1: KeyError: 'ours'" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize(("name", "table"), [("table1", table1), ("table3", table3), ("layers", layers)])
def test_a_table_that_tunes_needs_development_queries(tmp_path, name, table):
    request = replace(rehearsal(tmp_path, systems=["DistilBERT"], datasets=["SCIDOCS"], limit=4), developments=[])
    with pytest.raises(ValueError, match="no dataset has development queries, which α is chosen on"):
        run(name, table, request, first=overlap)


def test_a_model_that_is_not_there_is_told_before_anything_is_retrieved(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    request = rehearsal(tmp_path, systems=["DistilBERT"], datasets=["SCIDOCS"], limit=4)
    wrong = replace(request.systems[0], base=Model("nobody/such-a-model"))

    def first(loaded, folder):
        raise AssertionError("retrieved")

    for name, table in (("table1", table1), ("table3", table3), ("layers", layers)):
        with pytest.raises(ValueError, match="nobody/such-a-model"):
            run(name, table, replace(request, systems=[wrong]), first=first)


def test_a_system_without_small_models_is_named(tmp_path):
    from experiments.systems import Model, System

    mine = System("Mine", Model("a"), Model("b"), {"biomedical": Model("c")}, "causal")
    with pytest.raises(ValueError, match="no small models for 'Mine'"):
        stand_ins([mine], [], tmp_path, None, None)


def test_models_without_collections_are_refused(tmp_path, capsys):
    parser = make_parser("table1", "")
    for options in (["--rehearse", "--models", "x"], ["--models", "x"]):
        with pytest.raises(ValueError, match="--models"):
            requested(parser.parse_args([*options, "--folder", str(tmp_path)]))
