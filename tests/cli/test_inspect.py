"""`taskarith inspect` prints what `inspect_merge` returns, for every way to say which merge."""

import json
import shutil

import pandas as pd
import pytest

from pyterrier_taskarith import Checkpoint, Merge, TaskVector
from pyterrier_taskarith.inspection import inspect_merge


def report(triple, vectors, alphas, *, parameters=False, **options) -> str:
    merge = Merge(Checkpoint(str(triple.ranker)), vectors, alphas)
    return inspect_merge(merge, verbose=False, **options).to_text(parameters=parameters) + "\n"


def vector_of(triple) -> TaskVector:
    return TaskVector(str(triple.domain), str(triple.base))


@pytest.mark.parametrize("options, alpha", [
    ([], 1.0), (["--alpha", "0.7"], 0.7), (["--alpha", "-0.3"], -0.3), (["--alpha", "-.5"], -0.5),
    (["--alpha=-1e-1"], -0.1), (["--alpha", "default=0.25"], 0.25),
    (["--alpha", "0.7", "--alpha", "layers 0=1", "--alpha", "embeddings=-0.5"],
     {"default": 0.7, "layers 0": 1, "embeddings": -0.5}),
    (["--alpha", "encoder.1=1", "--alpha", "default=0"], {"default": 0, "encoder.1": 1}),
    (["--alpha", "domain=0.5"], 0.5),
])
def test_alpha_is_a_number_or_one_for_each_group_of_layers(triple, models, printed, options, alpha):
    status, out, _ = printed("inspect", *models, *options)
    assert status == 0
    assert out == report(triple, {"domain": vector_of(triple)}, {"domain": alpha})


@pytest.mark.parametrize("options, alphas", [
    ([], {"bio": 1, "toxic": 1}),
    (["--alpha", "0.5"], {"bio": 0.5, "toxic": 0.5}),
    (["--alpha", "bio=0.7", "--alpha", "toxic=-0.2"], {"bio": 0.7, "toxic": -0.2}),
    (["--alpha", "0.5", "--alpha", "toxic=-0.2"], {"bio": 0.5, "toxic": -0.2}),
    (["--alpha", "bio=.7", "--alpha", "bio:embeddings=0", "--alpha", "toxic=1"],
     {"bio": {"default": 0.7, "embeddings": 0}, "toxic": 1}),
    (["--alpha", ".5", "--alpha", "embeddings=0", "--alpha", "toxic:embeddings=1"],
     {"bio": {"default": 0.5, "embeddings": 0}, "toxic": {"default": 0.5, "embeddings": 1}}),
])
def test_vectors_have_an_alpha_each_or_one_for_all(triple, further, printed, options, alphas):
    status, out, _ = printed("inspect", "--ranker", triple.ranker, "--vector", f"bio={triple.domain},{triple.base}",
                             "--vector", f"toxic={further.domain}, {further.base}", *options)
    assert status == 0
    assert out == report(triple, {"bio": vector_of(triple), "toxic": vector_of(further)}, alphas)


def test_a_vector_may_be_a_saved_one(triple, printed, tmp_path):
    path = vector_of(triple).save(tmp_path / "bio.safetensors")
    status, out, _ = printed("inspect", "--ranker", triple.ranker, "--vector", f"bio={path}")
    assert status == 0
    assert out == report(triple, {"bio": TaskVector.load(path)}, {"bio": 1})


def test_layers_restrict_every_vector(triple, models, printed):
    _, out, _ = printed("inspect", *models, "--layers", "0,embeddings")
    assert out == report(triple, {"domain": vector_of(triple).layers("0,embeddings")}, {"domain": 1})


def test_dtype_and_parameters_are_passed_on(triple, models, printed):
    _, out, _ = printed("inspect", *models, "--dtype", "bfloat16", "--parameters")
    assert out == report(triple, {"domain": vector_of(triple)}, {"domain": 1}, dtype="bfloat16", parameters=True)


def test_the_csv_is_the_frame_by_parameter(triple, models, printed, tmp_path):
    assert printed("inspect", *models, "--csv", tmp_path / "out.csv")[0] == 0
    merge = Merge(Checkpoint(triple.ranker), {"domain": vector_of(triple)}, {"domain": 1})
    expected = inspect_merge(merge, verbose=False).parameters
    read = pd.read_csv(tmp_path / "out.csv", keep_default_na=False, na_values={
        column: [""] for column in expected.columns if expected[column].dtype.kind == "f"})
    read["shape"] = read["shape"].map(eval)
    pd.testing.assert_frame_equal(read, expected, check_dtype=False)


def test_the_plot_is_an_image(models, printed, tmp_path):
    pytest.importorskip("matplotlib")
    assert printed("inspect", *models, "--plot", tmp_path / "out.png")[0] == 0
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_plot_is_refused_before_anything_is_read(printed, tmp_path, monkeypatch):
    monkeypatch.setattr("pyterrier_taskarith.cli._models.find_spec", lambda _: None)
    status, out, err = printed("inspect", "--ranker", "a", "--domain", "b", "--base", "c", "--plot", tmp_path / "x.png")
    assert (status, out, err) == (1, "", "taskarith: --plot needs matplotlib: pip install matplotlib\n")


def test_a_configuration_that_names_code_must_be_trusted(triple, printed, tmp_path):
    ranker = tmp_path / "ranker"
    shutil.copytree(triple.ranker, ranker)
    config = json.loads((ranker / "config.json").read_text())
    (ranker / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling.Both"}}))
    models = ["--ranker", ranker, "--domain", triple.domain, "--base", triple.base]
    status, _, err = printed("inspect", *models)
    assert status == 1 and "--trust-config" in err
    assert printed("inspect", *models, "--trust-config")[0] == 0
