"""Questions to a run: what it computes of a text, where its heads look."""

import numpy as np
import pytest
import torch
import transformers

import ssl_jax
from configs import gpt3
from ssl_jax import generate, predict, runs
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


@pytest.mark.parametrize("name", ["BertForMaskedLM", "GPT2LMHeadModel"])
def test_everything_on_the_way_is_that_of_transformers(tmp_path, name):
    check.FOLDERS[name](tmp_path / name)
    run = ssl_jax.load_run(tmp_path / name)
    seen = predict.inspect(run, "a b c")
    causal = run.model.config.causal
    # A model of running text reads the text and nothing else.
    assert [token.strip("\u0120") for token in seen.tokens] == (["a", "b", "c"] if causal else ["[CLS]", "a", "b", "c", "[SEP]"])
    theirs = getattr(transformers, name).from_pretrained(tmp_path / name, attn_implementation="eager").eval()
    with torch.no_grad():
        out = theirs(torch.tensor(seen.ids)[None], output_attentions=True, output_hidden_states=True)
    np.testing.assert_allclose(seen.hidden, torch.stack(out.hidden_states)[:, 0].numpy(), atol=1e-5)
    np.testing.assert_allclose(seen.attention, torch.stack(out.attentions)[:, 0].numpy(), atol=1e-5)
    np.testing.assert_allclose(seen.out["clm_logits" if causal else "mlm_logits"], out.logits[0].numpy(), atol=1e-5)
    assert seen.attention.dtype == seen.hidden.dtype == np.float32


def test_what_is_written_after_a_text_is_text(tmp_path):
    check.FOLDERS["GPT2LMHeadModel"](tmp_path / "gpt2")
    run = ssl_jax.load_run(tmp_path / "gpt2")
    ids = run.tokenizer.encode("a b", add_special_tokens=False).ids
    (wanted,) = generate.generate(run, [ids], max_tokens=4, temperature=0)
    whole = run.tokenizer.decode([*ids, *wanted])
    assert predict.continue_texts(run, ["a b"], max_tokens=4, temperature=0) == [whole.removeprefix("a b")]


def test_a_model_of_running_text_has_no_pairs(tmp_path):
    check.FOLDERS["GPT2LMHeadModel"](tmp_path / "gpt2")
    with pytest.raises(UserError, match="reads running text: there are no pairs of texts"):
        predict.inspect(ssl_jax.load_run(tmp_path / "gpt2"), "a", "b")


def test_a_head_looks_where_its_layer_may(folder):
    config = gpt3.get_config("small")
    config.model.update({name: check.SIZES[name] for name in check.SIZES if name != "embedding_size"}, band=2)
    run = check.random_run(config, tokenizer_files.read(folder))
    _, weights = predict.attention(run, "a b c d")
    dense, banded = np.tri(4, dtype=bool), np.tri(4, dtype=bool) & ~np.tri(4, k=-2, dtype=bool)
    for layer, head in enumerate(weights):
        seen = (dense, banded)[layer % 2]
        assert ((head > 0) == seen).all()
        np.testing.assert_allclose(head.sum(-1), 1, rtol=1e-6)


def test_a_text_that_does_not_fit_is_told_with_both_numbers(folder):
    run = runs.load_run(folder)
    with pytest.raises(UserError, match=f"the text has 102 tokens, and the model {check.SIZES['positions']} positions"):
        predict.attention(run, "a " * 100)
