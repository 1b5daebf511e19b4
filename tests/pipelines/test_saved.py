"""A merged model outside this package: pyterrier_t5's re-ranker, sentence-transformers, a half-precision folder."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from pyterrier_taskarith import TaskArithReranker
from tests.pipelines.real_text import DEMO, candidates
from tests.reranking import assert_scores_agree
from tests.scorers.reference import sentence_transformers_scores, t5_scores


@pytest.fixture
def t5_reranker(t5):
    return TaskArithReranker(*t5, alpha=0.6, verbose=False)


def scores(transformer, frame: pd.DataFrame) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTerrier's add_ranks, called by pyterrier_t5
        return transformer.transform(frame)["score"].to_numpy()


@pytest.mark.slow
def test_pyterrier_t5s_reranker_gives_the_live_scores_one_by_one(t5_reranker):
    monot5 = t5_reranker.to_monot5()
    assert type(monot5).__module__ == "pyterrier_t5" and not monot5.verbose and monot5.text_field == "text"
    monot5.batch_size = 1
    frame = candidates(12, 15)
    np.testing.assert_allclose(scores(monot5, frame), scores(t5_reranker, frame), atol=1e-5)


def test_pyterrier_t5s_reranker_keeps_its_alpha(t5_reranker):
    frame = candidates(12, 15).head(10)
    monot5 = t5_reranker.to_monot5()
    monot5.batch_size = 1
    before = scores(t5_reranker, frame)
    t5_reranker.alpha = 0.0
    np.testing.assert_allclose(scores(monot5, frame), before, atol=1e-5)
    assert np.abs(scores(t5_reranker, frame) - before).max() > 1e-3


def test_pyterrier_t5s_reranker_knows_the_text_column(t5):
    assert TaskArithReranker(*t5, text_field="body", verbose=False).to_monot5().text_field == "body"


def test_monot5_has_the_device_and_the_prediction_tokens_that_are_given(t5):
    made = TaskArithReranker(*t5, device="meta", token_false="▁cell", token_true="▁the", verbose=False).to_monot5()
    assert made.device.type == "meta" == next(made.model.parameters()).device.type
    assert made.tokenizer.convert_ids_to_tokens([made.NREL, made.REL]) == ["▁cell", "▁the"]


def test_other_models_have_no_monot5(bi_encoder):
    with pytest.raises(ValueError, match="is not a T5 model"):
        bi_encoder.to_monot5()


def test_a_published_model_is_not_saved_again(t5_reranker, tmp_path):
    for variant in ("ranker", "domain", "base"):
        with pytest.raises(ValueError, match="only 'merged' is saved"):
            t5_reranker.copy(variant=variant).save(tmp_path / "new")


@pytest.mark.parametrize("dtype", ["float32", None])
def test_a_saved_bi_encoder_scores_in_sentence_transformers_as_live(bi_encoder, tmp_path, dtype):
    frame = candidates(12, 15)
    folder = bi_encoder.save(tmp_path / "merged", dtype=dtype)
    ours = scores(bi_encoder, frame)
    theirs = sentence_transformers_scores(folder, frame["query"].tolist(), frame["text"].tolist())
    # The packaged Θ_T is float16, so that a folder of its dtype has lost a little.
    assert np.abs(theirs - ours).max() < (1e-5 if dtype == "float32" else 2e-3)


def test_a_half_precision_folder_loaded_in_half_precision_is_near_the_live_scores(bi_encoder, tmp_path):
    from sentence_transformers import SentenceTransformer

    frame = candidates(12, 15)
    model = SentenceTransformer(str(bi_encoder.save(tmp_path / "merged")), device="cpu",
                                model_kwargs={"dtype": torch.float16})
    theirs = model.similarity_pairwise(
        model.encode_query(frame["query"].tolist(), convert_to_tensor=True, show_progress_bar=False).float(),
        model.encode_document(frame["text"].tolist(), convert_to_tensor=True, show_progress_bar=False).float())
    assert np.abs(theirs.numpy() - scores(bi_encoder, frame)).max() < 2e-3


@pytest.mark.parametrize(("dtype", "within"), [("float32", 1e-5), ("float16", 2e-3)])
def test_a_saved_t5_scores_as_live(t5_reranker, tmp_path, dtype, within):
    frame = candidates(12, 15).head(30)
    folder = t5_reranker.save(tmp_path / "merged", dtype=dtype)
    prompts = [f"Query: {row.query} Document: {row.text} Relevant:" for row in frame.itertuples()]
    # Only prompts that fit: the reference does not cut.
    fits = [len(prompt) < 400 for prompt in prompts]
    assert sum(fits) > 5
    theirs = t5_scores(folder, [prompt for prompt, fit in zip(prompts, fits, strict=True) if fit],
                       ("▁false", "▁true"))
    assert np.abs(theirs - scores(t5_reranker, frame)[fits]).max() < within


def test_a_saved_folder_is_a_ranker_again(bi_encoder, tmp_path):
    folder = bi_encoder.save(tmp_path / "merged", dtype="float32")
    again = TaskArithReranker(folder, DEMO[1], DEMO[2], alpha=0.0, verbose=False)
    assert_scores_agree(scores(again, candidates(12, 15)), scores(bi_encoder, candidates(12, 15)))


def test_a_saved_folder_scores_as_it_is_without_a_vector(bi_encoder, tmp_path):
    saved = TaskArithReranker(bi_encoder.save(tmp_path / "merged", dtype="float32"), vectors={}, verbose=False)
    frame = candidates(12, 15)
    np.testing.assert_array_equal(scores(saved, frame), scores(bi_encoder, frame))
    assert not saved.plan.merged and list(saved.variants()) == ["Θ_T"]
    with pytest.raises(ValueError, match="without a vector α does nothing"):
        saved.alpha = 0.5
