"""Random BertForPreTraining weights give `transformers`' logits, losses and gradients."""

import jax
import numpy as np
import pytest
import torch
import transformers

from ssl_jax import objectives
from ssl_jax.models.model import Model
from ssl_jax.models.transformer import TransformerConfig
from tests.reference import transformers_bert

TOLERANCE = dict(rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module", params=["gelu", "gelu_tanh"])
def both(request):
    """Their model and ours with the same weights, and one batch: odd length, padding, unequal rows."""
    fields = transformers_bert.model_config(activation=request.param)
    theirs = transformers.BertForPreTraining(
        transformers.BertConfig(
            vocab_size=fields["vocab_size"],
            hidden_size=fields["hidden_size"],
            num_hidden_layers=fields["layers"],
            num_attention_heads=fields["heads"],
            intermediate_size=fields["ffn_size"],
            max_position_embeddings=fields["positions"],
            hidden_act={"gelu": "gelu", "gelu_tanh": "gelu_new"}[request.param],
            attn_implementation="eager",
        )
    ).eval()
    random = np.random.default_rng(0)
    with torch.no_grad():
        # Far from the initial values, where biases are 0 and every norm is the identity.
        for weight in theirs.parameters():
            weight += torch.tensor(random.normal(0, 0.15, weight.shape), dtype=weight.dtype)
    weights = {name: value.detach().numpy() for name, value in theirs.state_dict().items()}
    params = transformers_bert.parameters(weights, fields["layers"], fields["heads"])
    rows, length = 5, 17
    mask = np.arange(length) < random.integers(4, length + 1, (rows, 1))
    mask[1] = mask[1][::-1]  # padding on the left
    positions = np.stack([random.choice(np.flatnonzero(row), 4, replace=False) for row in mask])
    batch = dict(
        tokens=random.integers(0, fields["vocab_size"], (rows, length)),
        mask=mask,
        segments=random.integers(0, 2, (rows, length)),
        positions=positions,
        targets=random.integers(0, fields["vocab_size"], positions.shape),
        weights=random.integers(0, 2, positions.shape).astype(np.float32),
        pair=random.integers(0, 2, rows),
    )
    batch["weights"][0, 0] = 1
    return theirs, Model(TransformerConfig(**fields), ("mlm", "pair")), params, batch


def apply(model, params, batch):
    return jax.jit(model.apply)({"params": params}, batch)


def run_theirs(model, batch):
    labels = np.full(batch["tokens"].shape, -100)
    for row, places in enumerate(batch["positions"]):
        for place, target, weight in zip(places, batch["targets"][row], batch["weights"][row], strict=True):
            if weight:
                labels[row, place] = target
    as_torch = {
        "input_ids": batch["tokens"],
        "attention_mask": batch["mask"].astype(int),
        "token_type_ids": batch["segments"],
        "labels": labels,
        "next_sentence_label": batch["pair"],
    }
    model.zero_grad()
    out = model(**{name: torch.tensor(value) for name, value in as_torch.items()})
    out.loss.backward()
    return out


def test_logits_are_equal(both):
    theirs, model, params, batch = both
    expected = run_theirs(theirs, batch)
    out = apply(model, params, batch)
    chosen = np.take_along_axis(expected.prediction_logits.detach().numpy(), batch["positions"][..., None], 1)
    np.testing.assert_allclose(out["mlm_logits"], chosen, **TOLERANCE)
    np.testing.assert_allclose(
        out["pair_logits"], expected.seq_relationship_logits.detach().numpy(), **TOLERANCE
    )


def test_hidden_states_of_every_layer_are_equal(both):
    theirs, model, params, batch = both
    inputs = dict(input_ids=batch["tokens"], attention_mask=batch["mask"] * 1, token_type_ids=batch["segments"])
    with torch.no_grad():
        hidden = theirs.bert(
            **{name: torch.tensor(value) for name, value in inputs.items()}, output_hidden_states=True
        ).hidden_states
    out = apply(model, params, batch)
    real = batch["mask"].astype(bool)
    ours = [out["embedded"], *out["layers"]["hidden"]]
    for mine, yours in zip(ours, hidden, strict=True):
        np.testing.assert_allclose(mine[real], yours.numpy()[real], **TOLERANCE)


def test_losses_and_every_gradient_are_equal(both):
    theirs, model, params, batch = both
    expected = run_theirs(theirs, batch)

    def loss(params):
        out = model.apply({"params": params}, batch)
        terms = objectives.mlm(out, batch), objectives.pair(out, batch)
        return sum(term.sum / term.weight for term in terms)

    value, gradients = jax.jit(jax.value_and_grad(loss))(params)
    np.testing.assert_allclose(value, expected.loss.item(), rtol=1e-5)
    weights = {name: value.grad.numpy() for name, value in theirs.named_parameters()}
    config = model.config
    expected_gradients = transformers_bert.parameters(weights, config.layers, config.heads)
    jax.tree.map(
        lambda mine, yours: np.testing.assert_allclose(mine, yours, rtol=1e-4, atol=1e-5),
        gradients,
        expected_gradients,
    )


@pytest.mark.parametrize("scan", [False, True])
def test_unrolled_and_scanned_layers_are_the_same_model(both, scan):
    _, model, params, batch = both
    other = model.clone(config=model.config.__class__(**(vars(model.config) | {"scan": scan})))
    expected = apply(model, params, batch)["encoded"]
    np.testing.assert_allclose(apply(other, params, batch)["encoded"], expected, rtol=1e-5, atol=1e-6)
