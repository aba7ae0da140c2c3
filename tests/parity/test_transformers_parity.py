"""Random weights of `transformers`' models give, in ours, the same hidden states, logits, losses and gradients.

Theirs are BERT, GPT-1, GPT-2, GPT-Neo (for GPT-3), ALBERT and ELECTRA; ours is each paper's config, made small.
"""

import dataclasses
import types
from collections.abc import Callable

import jax
import numpy as np
import pytest
import torch
import transformers

from configs import albert, electra, gpt1, gpt2, gpt3
from ssl_jax import objectives
from ssl_jax.models.model import Model, build_model
from ssl_jax.models.transformer import TransformerConfig
from tests.reference import transformers_albert, transformers_bert, transformers_electra, transformers_gpt

TOLERANCE = dict(rtol=1e-4, atol=1e-5)
VOCAB, POSITIONS, EPSILON = 61, 24, 1e-12


@dataclasses.dataclass
class Family:
    """One of their models and ours, and how each is run.

    Attributes:
      theirs: a torch module.
      model: our `Model`.
      parameters: (weights of theirs by name) -> our tree.
      batch: ours.
      run_theirs: (theirs, batch) -> hidden states, a list; logits, by the names of `out`; losses, a list.
      losses: (out, batch) -> the same losses, a list of terms.
      gradients: as `parameters`, for gradients where they convert otherwise.
      weights: what the sum of losses counts each with.
    """

    theirs: torch.nn.Module
    model: Model
    parameters: Callable
    batch: dict
    run_theirs: Callable
    losses: Callable
    gradients: Callable | None = None
    weights: tuple = (1.0,)


def text(vocab=VOCAB, rows=5, length=17):
    """Rows of odd length, padded on the right and (the second) on the left, all with labels."""
    random = np.random.default_rng(0)
    mask = np.arange(length) < random.integers(4, length + 1, (rows, 1))
    mask[1] = ~np.tri(1, length, 6, dtype=bool)[0]
    positions = np.stack([random.choice(np.flatnonzero(row), 4, replace=False) for row in mask])
    batch = dict(
        tokens=random.integers(0, vocab, (rows, length)),
        mask=mask,
        segments=random.integers(0, 2, (rows, length)),
        positions=positions,
        targets=random.integers(0, vocab, positions.shape),
        weights=random.integers(0, 2, positions.shape).astype(np.float32),
        pair=random.integers(0, 2, rows),
        replaced=random.integers(0, 2, (rows, length)).astype(bool),
    )
    batch["weights"][0, 0] = 1
    return batch


def running_text():
    """The same rows for predicting each next token: targets are tokens, of both of which neither is padding."""
    batch = text()
    real = np.pad(batch["mask"], ((0, 0), (0, 1)))
    batch |= dict(targets=np.roll(batch["tokens"], -1, axis=1), weights=(real[:, :-1] & real[:, 1:]) * np.float32(1))
    return {name: batch[name] for name in ("tokens", "mask", "targets", "weights")}


def inputs(batch, **labels):
    named = dict(input_ids=batch["tokens"], attention_mask=batch["mask"].astype(int)) | labels
    if "segments" in batch:
        named["token_type_ids"] = batch["segments"]
    return {name: torch.tensor(value) for name, value in named.items()} | {"output_hidden_states": True}


def masked_labels(batch):
    """The predictions as a row of labels, -100 where there are none."""
    labels = np.full(batch["tokens"].shape, -100)
    np.put_along_axis(labels, batch["positions"], np.where(batch["weights"], batch["targets"], -100), 1)
    return labels


def at(batch, logits):
    return logits.take_along_dim(torch.tensor(batch["positions"])[..., None], 1)


def shrink(config, **model):
    """A paper's config with the smallest sizes; heads of 12 or 15 do not divide 64."""
    sizes = dict(layers=3, hidden_size=36, heads=3, ffn_size=52, vocab_size=VOCAB, max_positions=POSITIONS)
    config.model.update(sizes | model)
    return build_model(config)


def bert_family(activation, scan):
    fields = transformers_bert.model_config(activation=activation, scan=scan)
    theirs = transformers.BertForPreTraining(
        transformers.BertConfig(
            vocab_size=fields["vocab_size"],
            hidden_size=fields["hidden_size"],
            num_hidden_layers=fields["layers"],
            num_attention_heads=fields["heads"],
            intermediate_size=fields["ffn_size"],
            max_position_embeddings=fields["max_positions"],
            hidden_act={"gelu": "gelu", "gelu_tanh": "gelu_new"}[activation],
            pad_token_id=None,  # with one, their table's row of that number gets no gradient from the lookup
            attn_implementation="eager",
        )
    )

    def run_theirs(theirs, batch):
        out = theirs(**inputs(batch, labels=masked_labels(batch), next_sentence_label=batch["pair"]))
        logits = {"mlm_logits": at(batch, out.prediction_logits), "pair_logits": out.seq_relationship_logits}
        return out.hidden_states, logits, [out.loss]

    model = Model(TransformerConfig(**fields), ("mlm", "pair"))
    return Family(theirs, model, lambda weights: transformers_bert.parameters(weights, model.config), text(),
                  run_theirs, pretraining_losses)  # fmt: skip


def pretraining_losses(out, batch):
    """BERT's and ALBERT's, one sum in `transformers`."""
    terms = objectives.mlm(out, batch), objectives.pair(out, batch)
    return [sum(term.sum / term.weight for term in terms)]


def next_token_losses(out, batch):
    term = objectives.clm(out, batch)
    return [term.sum / term.weight]


def run_causal(theirs, batch):
    labels = np.full(batch["tokens"].shape, -100)
    labels[:, 1:] = np.where(batch["weights"], batch["targets"], -100)[:, :-1]  # they shift them themselves
    out = theirs(**inputs(batch, labels=labels))
    return out.hidden_states, {"clm_logits": out.logits}, [out.loss]


def causal_family(theirs, model, convert, gradients=None):
    gradients = gradients or convert
    return Family(theirs, model, lambda weights: convert(weights, model.config), running_text(), run_causal,
                  next_token_losses, lambda weights: gradients(weights, model.config))  # fmt: skip


def gpt1_family(scan):
    model = shrink(gpt1.get_config(), hidden_size=45, ffn_size=0, scan=scan)  # theirs has 4 * 45 for ever
    config = transformers.OpenAIGPTConfig(
        vocab_size=VOCAB, n_positions=POSITIONS, n_embd=45, n_layer=3, n_head=3, attn_implementation="eager",
        afn="gelu",  # which is its name for the tanh form
    )  # fmt: skip
    return causal_family(transformers.OpenAIGPTLMHeadModel(config), model, transformers_gpt.gpt1_parameters)


def gpt2_family(scan):
    model = shrink(gpt2.get_config(), scan=scan)
    config = transformers.GPT2Config(
        vocab_size=VOCAB, n_positions=POSITIONS, n_embd=36, n_layer=3, n_head=3, n_inner=52, bos_token_id=None,
        eos_token_id=None, attn_implementation="eager",
    )  # fmt: skip
    return causal_family(transformers.GPT2LMHeadModel(config), model, transformers_gpt.gpt2_parameters)


def gpt3_family(scan):
    """GPT-Neo's windows are ours: `window` positions, itself the last, so all that is > q - window."""
    model = shrink(gpt3.get_config(), local_window=5, scan=scan)
    config = transformers.GPTNeoConfig(
        vocab_size=VOCAB, max_position_embeddings=POSITIONS, hidden_size=36, num_layers=3, num_heads=3,
        intermediate_size=52, window_size=5, attention_types=[[["global", "local"], 1], [["global"], 1]],
        bos_token_id=None, eos_token_id=None, attn_implementation="eager",
    )  # fmt: skip
    theirs = transformers.GPTNeoForCausalLM(config)
    # It has no biases in query, key and value; GPT-3, as GPT-2, has. Here they are put in.
    for block in theirs.transformer.h:
        for name in ("q_proj", "k_proj", "v_proj"):
            getattr(block.attn.attention, name).bias = torch.nn.Parameter(torch.zeros(36))
    convert = transformers_gpt.gpt_neo_parameters
    return causal_family(theirs, model, convert, lambda *weights: convert(*weights, gradients=True))


def albert_family(groups, scan):
    model = shrink(albert.get_config(), layers=4, embedding_size=20, share_groups=groups, scan=scan)
    theirs = transformers.AlbertForPreTraining(
        transformers.AlbertConfig(
            vocab_size=VOCAB,
            embedding_size=20,
            hidden_size=36,
            num_hidden_layers=4,
            num_hidden_groups=groups,
            inner_group_num=1,
            num_attention_heads=3,
            intermediate_size=52,
            max_position_embeddings=POSITIONS,
            pad_token_id=None,
            attn_implementation="eager",
        )  # fmt: skip
    )

    def run_theirs(theirs, batch):
        out = theirs(**inputs(batch, labels=masked_labels(batch), sentence_order_label=batch["pair"]))
        logits = {"mlm_logits": at(batch, out.prediction_logits), "pair_logits": out.sop_logits}
        return out.hidden_states, logits, [out.loss]

    return Family(theirs, model, lambda weights: transformers_albert.parameters(weights, model.config), text(),
                  run_theirs, pretraining_losses)  # fmt: skip


def electra_family(scan):
    """Generator and discriminator with one set of embeddings; both read the masked text."""
    config = electra.get_config()
    config.generator.size = 0.5  # 18 wide, one head, a feed-forward network of 72
    model = shrink(config, embedding_size=20, scan=scan)
    config = dict(vocab_size=VOCAB, embedding_size=20, num_hidden_layers=3, max_position_embeddings=POSITIONS,
                  pad_token_id=None, attn_implementation="eager")  # fmt: skip
    shapes = (
        dict(hidden_size=18, num_attention_heads=1, intermediate_size=72),
        dict(hidden_size=36, num_attention_heads=3, intermediate_size=52),
    )
    generator, discriminator = (transformers.ElectraConfig(**config | shape) for shape in shapes)
    theirs = torch.nn.ModuleDict(
        dict(
            generator=transformers.ElectraForMaskedLM(generator),
            discriminator=transformers.ElectraForPreTraining(discriminator),
        )
    )
    theirs["discriminator"].electra.embeddings = theirs["generator"].electra.embeddings

    def run_theirs(theirs, batch):
        made = theirs["generator"](**inputs(batch, labels=masked_labels(batch)))
        out = theirs["discriminator"](**inputs(batch, labels=batch["replaced"].astype(int)))
        logits = {"mlm_logits": at(batch, made.logits), "replaced_logit": out.logits}
        return [*made.hidden_states, *out.hidden_states], logits, [made.loss, out.loss]

    def losses(out, batch):
        terms = objectives.mlm(out, batch), objectives.rtd(out | {"replaced": batch["replaced"]}, batch)
        return [term.sum / term.weight for term in terms]

    return Family(theirs, model, lambda weights: transformers_electra.parameters(weights, model), text(), run_theirs,
                  losses, weights=(1.0, 50.0))  # fmt: skip


# The families, with scanned and with unrolled layers.
FAMILIES = {
    "bert-erf": lambda: bert_family("gelu", scan=False),
    "bert-tanh": lambda: bert_family("gelu_tanh", scan=True),
    "gpt1": lambda: gpt1_family(scan=False),
    "gpt2": lambda: gpt2_family(scan=True),
    "gpt3": lambda: gpt3_family(scan=False),
    "gpt3-scan": lambda: gpt3_family(scan=True),
    "albert": lambda: albert_family(1, scan=False),
    "albert-scan": lambda: albert_family(1, scan=True),
    "albert-groups": lambda: albert_family(2, scan=False),
    "albert-groups-scan": lambda: albert_family(2, scan=True),
    "electra": lambda: electra_family(scan=True),
}


def hidden_states(out):
    """Of every layer, the embeddings' first; the last as `transformers` has it, after the final norm."""
    return [out["embedded"], *out["layers"]["hidden"][:-1], out["encoded"]]


def run_generator(module, batch):
    return module.generator_encoder(module.generator_embeddings(batch)[0], batch)


@pytest.fixture(scope="module", params=FAMILIES)
def both(request):
    """What the two models make of the same weights and batch: `ours` and `theirs`."""
    family = FAMILIES[request.param]()
    theirs, model, batch = family.theirs.eval(), family.model, family.batch
    random = np.random.default_rng(0)
    with torch.no_grad():
        # Far from the initial values, where biases are 0 and every norm is the identity.
        for weight in theirs.parameters():
            weight += torch.tensor(random.normal(0, 0.15, weight.shape), dtype=weight.dtype)
    params = family.parameters({name: value.detach().numpy() for name, value in theirs.named_parameters()})
    # No weight of theirs is left out.
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == sum(x.numel() for x in theirs.parameters())

    def run(params):
        out = model.apply({"params": params}, batch)
        hidden = hidden_states(out)
        if model.generator is not None:
            hidden = hidden_states(model.apply({"params": params}, batch, method=run_generator)) + hidden
        losses = family.losses(out, batch)
        return sum(weight * loss for weight, loss in zip(family.weights, losses, strict=True)), (out, hidden, losses)

    (_, (out, hidden, losses)), gradients = jax.jit(jax.value_and_grad(run, has_aux=True))(params)
    ours = types.SimpleNamespace(logits=out, hidden=hidden, losses=losses, gradients=gradients)

    hidden, logits, losses = family.run_theirs(theirs, batch)
    sum(weight * loss for weight, loss in zip(family.weights, losses, strict=True)).backward()
    convert = family.gradients or family.parameters
    expected = types.SimpleNamespace(
        hidden=[state.detach().numpy() for state in hidden],
        logits={name: value.detach().numpy() for name, value in logits.items()},
        losses=[loss.item() for loss in losses],
        gradients=convert({name: value.grad.numpy() for name, value in theirs.named_parameters()}),
    )
    return ours, expected, batch["mask"]


def test_hidden_states_of_every_layer_are_equal(both):
    ours, theirs, real = both
    for mine, yours in zip(ours.hidden, theirs.hidden, strict=True):
        np.testing.assert_allclose(mine[real], yours[real], **TOLERANCE)


def test_logits_are_equal(both):
    ours, theirs, real = both
    for name, yours in theirs.logits.items():
        # Of all positions those that are no padding.
        counts = real if yours.shape[:2] == real.shape else ...
        np.testing.assert_allclose(ours.logits[name][counts], yours[counts], **TOLERANCE)


def test_losses_and_every_gradient_are_equal(both):
    ours, theirs, _ = both
    np.testing.assert_allclose(ours.losses, theirs.losses, rtol=1e-5)
    jax.tree.map(
        lambda mine, yours: np.testing.assert_allclose(mine, yours, rtol=1e-4, atol=1e-5),
        ours.gradients,
        theirs.gradients,
    )
