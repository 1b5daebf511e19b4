"""A merged model's folder as a PyTerrier artifact, found by PyTerrier itself."""

import json
import tarfile
from importlib.metadata import entry_points

import numpy as np
import pyterrier as pt
import pytest
from lz4.frame import LZ4FrameFile

from pyterrier_taskarith import MergedModel
from testing import bert_triple
from tests.reranking import frame, reranker


@pytest.fixture(scope="module")
def r(tmp_path_factory):
    return reranker(bert_triple(tmp_path_factory.mktemp("bert")), alpha=0.6)


@pytest.fixture(scope="module")
def folder(r, tmp_path_factory):
    return r.save(tmp_path_factory.mktemp("artifact") / "merged", dtype="float32")


def test_pyterrier_loads_a_saved_folder_and_it_scores_as_live(r, folder):
    artifact = pt.Artifact.load(str(folder))
    assert type(artifact) is MergedModel and repr(artifact) == f"MergedModel({str(folder)!r})"
    saved = artifact.reranker(verbose=False, device="cpu")
    np.testing.assert_array_equal(saved(frame())["score"], r(frame())["score"])


def test_a_package_of_it_names_its_type_and_unpacks_to_the_same_model(folder, tmp_path):
    MergedModel(folder).build_package(tmp_path / "merged.tar.lz4", verbose=False)
    with LZ4FrameFile(tmp_path / "merged.tar.lz4") as packed, tarfile.open(fileobj=packed) as files:
        files.extractall(tmp_path / "unpacked", filter="data")
    assert json.loads((tmp_path / "unpacked" / "pt_meta.json").read_text())["package_hint"] == "pyterrier_taskarith"
    again = pt.Artifact.load(str(tmp_path / "unpacked"))
    assert type(again) is MergedModel
    assert (again.path / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_another_folder_is_no_merged_model(tmp_path):
    with pytest.raises(ValueError, match="is not a merged model: it has no taskarith.json"):
        MergedModel(tmp_path)
    with pytest.raises(ValueError, match="No implementation found"):
        pt.Artifact.load(str(tmp_path))


def test_the_entry_point_is_pyterriers_key_for_the_class():
    found = {point.name: point.load() for point in entry_points(group="pyterrier.artifact")}
    assert found[".".join(pt.inspect.artifact_type_format(MergedModel))] is MergedModel
