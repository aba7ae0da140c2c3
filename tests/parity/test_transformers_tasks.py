"""A task's losses and all their gradients are those of `transformers`' classes on the same weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from ssl_jax import objectives
from ssl_jax.interop import check, huggingface
from ssl_jax.models.model import flatten_choices

SIZES = check.SIZES
ROWS, LENGTH, CHOICES = 4, 11, 3


def text(shape):
    """Random tokens in rows of unequal length, with segments."""
    random = np.random.default_rng(0)
    mask = np.arange(LENGTH) < random.integers(5, LENGTH + 1, (*shape, 1))
    tokens = np.where(mask, random.integers(5, SIZES["vocab_size"], mask.shape), 0)
    return dict(tokens=tokens, mask=mask, segments=np.sort(random.integers(0, 2, mask.shape)) * mask)


TOLD = {
    "classify": {"label": np.array([2, 0, 1, 1])},
    "regress": {"label": np.array([0.0, 2.75, 5.0, 1.0], np.float32)},
    "choose": {"label": np.array([2, 0, 1, 1])},
    # The third is outside the row, which both leave out.
    "span": {"span": np.array([[0, 0], [2, 4], [LENGTH, LENGTH], [3, 3]])},
    "classify_tokens": {"token_label": np.where(np.arange(LENGTH) % 3, -1, np.arange(ROWS)[:, None] + 1)},
}
CLASSES = {
    "BertForSequenceClassification": ("classify", 3),
    "AlbertForSequenceClassification": ("classify", 3),
    "BertForSequenceClassification, one label": ("regress", 1),
    "BertForMultipleChoice": ("choose", 2),
    "BertForQuestionAnswering": ("span", 2),
    "BertForTokenClassification": ("classify_tokens", 5),
}


def labels(loss, batch):
    """What their class is told."""
    if loss == "span":
        return {name: torch.tensor(batch["span"][:, n]) for n, name in enumerate(("start_positions", "end_positions"))}
    if loss == "classify_tokens":
        told = np.where(batch["mask"], batch["token_label"], -1)
        return {"labels": torch.tensor(np.where(told < 0, -100, told))}
    return {"labels": torch.tensor(batch["label"])}


@pytest.mark.parametrize("name", CLASSES)
def test_losses_and_every_gradient_are_those_of_transformers(name, tmp_path):
    loss, number = CLASSES[name]
    theirs_of = getattr(transformers, name.split(",")[0])
    config = theirs_of.config_class(
        vocab_size=SIZES["vocab_size"], hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
        intermediate_size=20, max_position_embeddings=LENGTH, num_labels=number, attn_implementation="eager", pad_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        theirs = theirs_of(config).eval()
        for weight in theirs.parameters():
            weight += torch.randn_like(weight) * 0.15

    def load(folder):
        theirs.save_pretrained(tmp_path / folder)
        check.write_vocabulary(tmp_path / folder)
        return huggingface.load(tmp_path / folder)

    run = load("weights")
    batch = text((ROWS, CHOICES) if loss == "choose" else (ROWS,)) | TOLD[loss]
    inputs = {"input_ids": "tokens", "attention_mask": "mask", "token_type_ids": "segments"}
    inputs = {theirs: torch.tensor(batch[ours]).long() for theirs, ours in inputs.items()}
    expected = theirs(**inputs, **labels(loss, batch)).loss
    expected.backward()
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.copy_(weight.grad)
    gradients = load("gradients").params  # a folder of them is read as one of weights is

    model = run.model.clone(config=dataclasses.replace(run.model.config, scan=True))

    def mean(params):
        flat = flatten_choices(batch)
        term = objectives.OBJECTIVES[loss].loss(model.apply({"params": params}, flat), flat)
        return term.sum / term.weight

    value, made = jax.jit(jax.value_and_grad(mean))(run.params)
    assert float(value) == pytest.approx(expected.item(), rel=1e-4)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), made, gradients)
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(made)) > 0.01
