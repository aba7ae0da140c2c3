"""Questions to a run: what it computes of a text, where its heads look."""

import importlib

import numpy as np
import pytest
import torch
import transformers

import ssl_jax
from configs import gpt3
from ssl_jax import predict
from ssl_jax.errors import UserError
from ssl_jax.inference import generate, scoring
from ssl_jax.interop import check
from ssl_jax.load import load_run
from ssl_jax.tokenization import folders
from tests.unit.test_scoring import run_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("theirs") / "bert"
    check.FOLDERS["BertModel"](folder)
    return folder


@pytest.mark.parametrize("pair", ["", "d e"])
def test_attention_is_that_of_transformers_on_the_same_weights(folder, pair):
    tokens, weights = predict.attention(load_run(folder), "a b c", pair)
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
    assert [token.strip("\u0120") for token in seen.tokens] == (
        ["a", "b", "c"] if causal else ["[CLS]", "a", "b", "c", "[SEP]"]
    )
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
    config.model.update({name: check.SIZES[name] for name in check.SIZES if name != "embedding_size"}, local_window=2)
    run = check.random_run(config, folders.read(folder))
    _, weights = predict.attention(run, "a b c d")
    dense, banded = np.tri(4, dtype=bool), np.tri(4, dtype=bool) & ~np.tri(4, k=-2, dtype=bool)
    for layer, head in enumerate(weights):
        seen = (dense, banded)[layer % 2]
        assert ((head > 0) == seen).all()
        np.testing.assert_allclose(head.sum(-1), 1, rtol=1e-6)


def test_a_text_that_does_not_fit_is_told_with_both_numbers(folder):
    run = load_run(folder)
    with pytest.raises(
        UserError, match=f"the text has 102 tokens, and the model {check.SIZES['max_positions']} positions"
    ):
        predict.attention(run, "a " * 100)


def small(variant, tokenizer, paper="finetune", **changes):
    """A run of random parameters."""
    config = importlib.import_module(f"configs.{paper}").get_config(variant)
    config.model.update({name: size for name, size in check.SIZES.items() if name in config.model})
    config.update_from_flattened_dict(changes)
    return check.random_run(config, tokenizer)


@pytest.fixture(scope="module")
def trained(folder):
    """Runs by what they were trained for, all with the folder's tokenizer but for 'next tokens'."""
    tokenizer = folders.read(folder)
    doubled = {"task.classes": 2, "task.orders": 2, "init.grow": ()}
    return {
        "masked tokens": small("tiny", tokenizer, "bert"),
        "replaced tokens": small("small", tokenizer, "electra"),
        "spans": small("bert-tiny,squad", tokenizer),
        "pairs in both orders": small("gpt1-base,mrpc", tokenizer, **doubled),
        "next tokens": run_of("gpt2"),
    }


def test_what_a_model_cannot_be_asked_is_one_line(trained):
    no_masks = "is not a masked language model \\(losses.mlm\\): it has heads for "
    for name in ("spans", "pairs in both orders", "next tokens"):
        for sentence in ("a [MASK]", "", "a " * 100):
            with pytest.raises(UserError, match=no_masks):
                predict.fill_masks(trained[name], sentence)
        with pytest.raises(UserError, match=no_masks):
            predict.read_heldout(trained[name], trained[name].config)
    with pytest.raises(UserError, match="masked language model of random is a generator's"):
        predict.read_heldout(trained["replaced tokens"], trained["replaced tokens"].config)
    for name in set(trained) - {"replaced tokens"}:
        with pytest.raises(UserError, match="no discriminator with a generator"):
            predict.mark_replaced(trained[name], [5, 6])
    for name in set(trained) - {"next tokens", "pairs in both orders"}:
        with pytest.raises(UserError, match="not a causal language model|no causal|losses.clm"):
            predict.continue_texts(trained[name], ["a b"], max_tokens=2)
    with pytest.raises(UserError, match="has no start and separator tokens"):
        predict.sentence_embeddings(trained["next tokens"], ["a"])
    run = trained["masked tokens"]
    for sentence, best, message in [
        ("", 5, "no \\[MASK\\] to fill in ''"),
        ("a b " * 9000, 5, "no \\[MASK\\] to fill in 'a b a b a b .*\\.\\.\\..{,40}$"),
        ("a " * 100 + "[MASK]", 5, f"the text has 103 tokens, and the model {check.SIZES['max_positions']} positions"),
        ("[MASK]", 0, "best=0: at least 1"),
    ]:
        with pytest.raises(UserError, match=message):
            predict.fill_masks(run, sentence, best)
    for texts, size in (("a b", 32), (["a b"], 0)):
        with pytest.raises(UserError, match="a list of texts, and at least 1"):
            predict.sentence_embeddings(run, texts, batch_size=size)


def test_empty_texts_and_characters_that_no_piece_has_are_read(trained):
    (filled,) = predict.fill_masks(trained["masked tokens"], "☃ [MASK]", 3)
    assert len(filled) == 3 and filled[0][1] >= filled[1][1] >= filled[2][1] > 0
    for name in ("masked tokens", "replaced tokens", "pairs in both orders"):
        run = trained[name]
        alone = predict.sentence_embeddings(run, [""], batch_size=1)
        made = predict.sentence_embeddings(run, ["a b", "", "☃", "a " * 100], batch_size=2)
        np.testing.assert_allclose(made[1], alone[0], atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, rtol=1e-5)
    tokens, weights = predict.attention(trained["pairs in both orders"], "")
    assert len(tokens) == 2 and weights.shape[-2:] == (2, 2)
    assert "class_logits" not in predict.inspect(trained["pairs in both orders"], "a", "b").out
    with pytest.raises(UserError, match="the text has 0 tokens, and the model"):
        predict.inspect(trained["next tokens"], "")
    # It goes on with one text, and with three, as with any number.
    run = trained["pairs in both orders"]
    assert predict.continue_texts(run, ["a b", "b", "a"], max_tokens=2, temperature=0)[0] == (
        predict.continue_texts(run, ["a b"], max_tokens=2, temperature=0)[0])  # fmt: skip
    assert scoring.log_likelihoods(run, [("a", "b")])[0].tokens == 1
