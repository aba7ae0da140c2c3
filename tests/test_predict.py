"""Questions to a run: where its heads look."""

import numpy as np
import pytest
import torch
import transformers

from configs import gpt3
from ssl_jax import predict, runs
from ssl_jax.errors import UserError
from ssl_jax.interop import check, tokenizer_files


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("theirs") / "bert"
    check.FOLDERS["BertModel"](folder)
    return folder


@pytest.mark.parametrize("pair", ["", "d e"])
def test_attention_is_that_of_transformers_on_the_same_weights(folder, pair):
    tokens, weights = predict.attention(runs.load_run(folder), "a b c", pair)
    wanted = ["[CLS]", "a", "b", "c", "[SEP]", *(["d", "e", "[SEP]"] if pair else [])]
    assert tokens == wanted
    theirs = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    ids = torch.tensor([[check.pieces().index(token) for token in wanted]])
    segments = torch.tensor([[0] * 5 + [1] * (len(wanted) - 5)])
    with torch.no_grad():
        made = theirs(ids, token_type_ids=segments, output_attentions=True).attentions
    np.testing.assert_allclose(weights, torch.stack(made)[:, 0].numpy(), atol=1e-5)


def test_a_head_looks_where_its_layer_may(folder):
    config = gpt3.get_config("small")
    config.model.update({name: check.SIZES[name] for name in check.SIZES if name != "embedding_size"}, band=2)
    run = check.random_run(config, tokenizer_files.read(folder))
    _, weights = predict.attention(run, "a b c d")
    dense, banded = np.tri(6, dtype=bool), np.tri(6, dtype=bool) & ~np.tri(6, k=-2, dtype=bool)
    for layer, head in enumerate(weights):
        seen = (dense, banded)[layer % 2]
        assert ((head > 0) == seen).all()
        np.testing.assert_allclose(head.sum(-1), 1, rtol=1e-6)


def test_a_text_that_does_not_fit_is_told_with_both_numbers(folder):
    run = runs.load_run(folder)
    with pytest.raises(UserError, match=f"the text has 102 tokens, and the model {check.SIZES['positions']} positions"):
        predict.attention(run, "a " * 100)
