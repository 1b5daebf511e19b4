"""Hidden states kept below a layer: scores are the same bit for bit, and memory is bounded."""

import numpy as np
import pytest
import torch

from pyterrier_taskarith import TaskArithReranker
from pyterrier_taskarith.checkpoints import layer_of
from pyterrier_taskarith.scorers import BiEncoder, Kept
from pyterrier_taskarith.scorers._encoder import halves
from testing import bert_triple, cross_encoder_triple, llama_triple, passages, questions, t5_triple

LAYERS = 3
ENCODERS = {
    **{f"bi-encoder {family}": lambda folder, family=family: bert_triple(folder, family=family, layers=LAYERS)
       for family in ("bert", "distilbert", "roberta")},
    **{f"cross-encoder {family}": lambda folder, family=family: cross_encoder_triple(folder, family=family,
                                                                                     layers=LAYERS)
       for family in ("bert", "distilbert", "roberta", "electra")},
}
TEXTS = [*passages(14, seed=1), "cell", " ".join(passages(20, seed=2))]
QUERIES = [query for query in questions(3, seed=3) for _ in TEXTS]


@pytest.fixture(scope="module", params=ENCODERS)
def triple(request, tmp_path_factory):
    return ENCODERS[request.param](tmp_path_factory.mktemp("triple"))


def fresh(triple, **options):
    return TaskArithReranker(str(triple.ranker), str(triple.domain), str(triple.base),
                             **{"verbose": False, "batch_tokens": 256, **options})


def plain(triple):
    """A re-ranker with a model of its own, that keeps nothing."""
    return fresh(triple, dtype="float32")


def scores(reranker, alpha=None, **changed):
    """Scores that are computed, not remembered."""
    model = reranker.model
    model._memo.clear()
    if isinstance(model.scorer, BiEncoder):
        model.scorer._embeddings.clear()
    setting = reranker.copy(**(changed or {"alpha": alpha})).setting
    return model.score(setting, QUERIES, TEXTS * 3)


def upper(layer, value, default=0.3, side=""):
    """α of the layers from one on."""
    return {"default": default, f"{side}{layer}-99": value}


def side_of(reranker):
    """How the family names its encoder's side."""
    return next(side for side, number in map(layer_of, sorted(reranker.plan.merged)) if number is not None)


@pytest.mark.parametrize("layer", range(1, LAYERS))
@pytest.mark.parametrize("workers", [1, 3])
def test_scores_with_kept_states_are_the_same_bits(triple, layer, workers):
    values = [0.7, -0.4, 1.0]
    expected = [scores(plain(triple), upper(layer, value)) for value in values]
    reranker = fresh(triple)
    reranker.model.scorer.workers = workers
    with reranker.model.reusing((side_of(reranker), layer), 2**30) as kept:
        found = [scores(reranker, upper(layer, value)) for value in values]
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(*found[:2])
    assert kept.computed > 1 and kept.reused == 2 * kept.computed
    assert reranker.model.scorer.kept is None


def test_lower_layers_that_change_are_computed_anew(triple):
    reranker, other = fresh(triple), plain(triple)
    settings = [upper(1, 0.5), {"default": 0.3, "embeddings": 0.0, "1-99": 0.5}, upper(1, 0.5, default=0.9),
                {"default": 0.3, "0": 0.1}, 0.3, 0, upper(1, 0.5)]
    with reranker.model.reusing((side_of(reranker), 1), 2**30) as kept:
        for alpha in settings:
            np.testing.assert_array_equal(scores(reranker, alpha), scores(other, alpha))
        for variant in ("domain", "base"):
            np.testing.assert_array_equal(scores(reranker, variant=variant), scores(other, variant=variant))
        assert kept.reused == 0
        scores(reranker, variant="base")
        assert kept.reused == kept.computed / (len(settings) + 2)


def test_what_does_not_fit_is_computed_anew(triple):
    reranker, values = fresh(triple), [0.7, -0.4, 1.0]
    place = (side_of(reranker), 2)
    expected = [scores(plain(triple), upper(2, value)) for value in values]
    with reranker.model.reusing(place, 100_000) as kept:
        found = [scores(reranker, upper(2, value)) for value in values]
        assert kept.bytes == sum(states.nbytes for states in kept._states.values())
    np.testing.assert_array_equal(found, expected)
    assert 0 < kept.bytes <= 100_000
    assert 0 < kept.reused < 2 / 3 * (kept.reused + kept.computed)


@pytest.mark.parametrize("layer", [0, LAYERS, LAYERS + 5])
def test_there_is_nothing_to_keep_below_the_first_layer_or_above_the_last(triple, layer):
    reranker = fresh(triple)
    with reranker.model.reusing((side_of(reranker), layer), 2**30) as kept:
        assert kept is None
        np.testing.assert_array_equal(scores(reranker, 0.5), scores(plain(triple), 0.5))


def test_halves_leave_the_model_as_it_is_and_share_its_parameters(triple):
    module = fresh(triple).model.scorer.module
    names, before = [name for name, _ in module.named_parameters()], {id(part) for part in module.modules()}
    stack = "transformer" if module.config.model_type == "distilbert" else "encoder"
    lower, above = halves(module, stack, 1)
    assert [name for name, _ in module.named_parameters()] == names
    assert {id(part) for part in module.modules()} == before
    ours = {id(parameter) for parameter in [*lower.parameters(), *above.parameters()]}
    assert ours <= {id(parameter) for parameter in module.parameters()}
    layers = getattr(module.base_model, stack).layer
    assert len(layers) == LAYERS and getattr(lower, stack).layer[0] is layers[0]


@pytest.mark.parametrize("kind", ["t5", "mt5"])
def test_t5_keeps_the_encoder_while_the_decoder_changes(tmp_path, kind):
    triple = t5_triple(tmp_path, kind=kind)
    settings = [upper(1, value, side="decoder.") for value in (0.7, -0.4)] + [
        upper(0, 0.2, side="decoder."), {"default": 0.3, "embeddings": 0.9}, {"default": 0.3, "encoder.1": 0.9}]
    expected = [scores(plain(triple), alpha) for alpha in settings]
    reranker = fresh(triple)
    with reranker.model.reusing(("decoder", 0), 2**30) as kept:
        for alpha, theirs in zip(settings, expected, strict=True):
            np.testing.assert_array_equal(scores(reranker, alpha), theirs)
    assert kept.reused == 2 * (kept.reused + kept.computed) / len(settings)
    with reranker.model.reusing(("encoder", 1), 2**30) as kept:
        assert kept is None
        np.testing.assert_array_equal(scores(reranker, 0.6), scores(plain(triple), 0.6))


def test_causal_models_compute_everything(tmp_path):
    triple = llama_triple(tmp_path)
    reranker = fresh(triple)
    with reranker.model.reusing(("", 1), 2**30) as kept:
        assert kept is None
        np.testing.assert_array_equal(scores(reranker, upper(1, 0.5)), scores(plain(triple), upper(1, 0.5)))


def test_kept_tells_batches_apart_by_everything_that_goes_in():
    kept, made = Kept("", 1, 10**6), []

    def state():
        made.append(torch.full((1,), float(len(made))))
        return made[-1]

    ids, mask = torch.tensor([[1, 0]]), torch.tensor([[1, 1]])
    inputs = [{"input_ids": ids, "attention_mask": mask}, {"input_ids": ids, "attention_mask": torch.tensor([[1, 0]])},
              {"input_ids": ids.T, "attention_mask": mask.T}, {"input_ids": mask, "attention_mask": ids},
              {"input_ids": ids, "attention_mask": mask, "token_type_ids": mask}]
    first = [kept.of(each, state) for each in inputs]
    assert len(made) == len(inputs)
    assert all(kept.of(each, state) is states for each, states in zip(inputs, first, strict=True))
    kept.use("other weights")
    assert kept.of(inputs[0], state) is not first[0]
    kept.use("other weights")
    assert kept.of(inputs[0], state) is made[-1] and len(made) == len(inputs) + 1
