"""What the heads of tasks read of the trunk: Table 7's kinds, and the BiLSTMs on top as torch has them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from configs import finetune
from ssl_jax import flops, objectives
from ssl_jax.errors import UserError
from ssl_jax.models import heads
from ssl_jax.models.model import build_model
from ssl_jax.models.spec import FEATURES

LAYERS, ROWS, LENGTH, WIDTH = 5, 4, 7, 32
LENGTHS = np.array([7, 4, 1, 3])
MASK = np.arange(LENGTH) < LENGTHS[:, None]


def trunk(**changes):
    config = finetune.get_config("bert-tiny,conll2003,smoke")
    config.model.update(layers=LAYERS, **changes)
    return build_model(config).config


def made_by_trunk(seed=0):
    random = np.random.default_rng(seed)
    layers = random.normal(size=(LAYERS, ROWS, LENGTH, WIDTH)).astype(np.float32)
    embedded, encoded = random.normal(size=(2, *layers.shape[1:])).astype(np.float32)
    return {"embedded": embedded, "encoded": encoded, "layers": {"hidden": layers}}


def numbers_like(shapes, seed=1):
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda x: random.normal(size=x.shape).astype(np.float32), shapes)


def in_torch(params, layers, size):
    """torch's LSTMs with the same weights."""
    theirs = torch.nn.LSTM(WIDTH, size, layers, bidirectional=True, batch_first=True)
    for layer in range(layers):
        for direction, suffix in (("forward", ""), ("backward", "_reverse")):
            gates = params[f"{direction}_{layer}"]
            stacked = {
                "weight_ih": [gates[f"i{gate}"]["kernel"].T for gate in "ifgo"],
                "weight_hh": [gates[f"h{gate}"]["kernel"].T for gate in "ifgo"],
                "bias_ih": [gates[f"h{gate}"]["bias"] for gate in "ifgo"],
                "bias_hh": [np.zeros(size, np.float32)] * 4,
            }
            for name, parts in stacked.items():
                getattr(theirs, f"{name}_l{layer}{suffix}").data = torch.tensor(np.concatenate(parts))
    return theirs


@pytest.mark.parametrize("layers", [1, 2])
def test_bilstms_are_torchs_on_packed_sequences(layers):
    size, config, out = 6, trunk(), made_by_trunk()
    module = heads.Features(config, "", layers, size)
    params = numbers_like(jax.eval_shape(module.init, jax.random.key(0), out, MASK)["params"])
    weights = np.random.default_rng(2).normal(size=(ROWS, LENGTH, 2 * size)).astype(np.float32)
    pooler = heads.Pooler(trunk(pooler="plain"), bidirectional=True)

    @jax.jit
    def ours(params, x):
        made = module.apply({"params": params}, out | {"encoded": x}, MASK)
        last = pooler.apply({}, made, MASK)
        return (made * weights).sum() + last.sum(), (made, last)

    (_, (made, last)), (gradients, of_x) = jax.value_and_grad(ours, (0, 1), has_aux=True)(params, out["encoded"])

    theirs, x = in_torch(params, layers, size), torch.tensor(out["encoded"], requires_grad=True)
    lengths = torch.tensor(LENGTHS)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, (state, _) = theirs(packed)
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(expected, batch_first=True)
    state = torch.cat([state[-2], state[-1]], dim=-1)
    ((expected * torch.tensor(weights)).sum() + state.sum()).backward()
    for a, b in ((made, expected), (last, state), (of_x, x.grad)):
        np.testing.assert_allclose(a, b.detach().numpy(), atol=1e-5)
    assert not np.asarray(made)[~MASK].any() and not np.asarray(of_x)[~MASK].any()
    for direction, suffix in (("forward", ""), ("backward", "_reverse")):
        gradient = getattr(theirs, f"weight_hh_l{layers - 1}{suffix}").grad.chunk(4)
        for gate, expected in zip("ifgo", gradient):
            kernel = gradients[f"{direction}_{layers - 1}"][f"h{gate}"]["kernel"]
            np.testing.assert_allclose(kernel, expected.T, rtol=1e-4, atol=1e-4)


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


KINDS = {
    "": lambda out, _: out["encoded"],
    "embeddings": lambda out, _: out["embedded"],
    "last": lambda out, _: out["layers"]["hidden"][4],
    "second_to_last": lambda out, _: out["layers"]["hidden"][3],
    "sum_last_four": lambda out, _: sum(out["layers"]["hidden"][n] for n in (1, 2, 3, 4)),
    "concat_last_four": lambda out, _: np.concatenate([out["layers"]["hidden"][n] for n in (1, 2, 3, 4)], -1),
    "weighted_sum_last_four": lambda out, learned: learned["gain"] * sum(
        w * out["layers"]["hidden"][n] for w, n in zip(softmax(learned["weights"]), (1, 2, 3, 4), strict=True)
    ),
    "weighted_sum_all": lambda out, learned: learned["gain"] * sum(
        w * x for w, x in zip(softmax(learned["weights"]), out["layers"]["hidden"], strict=True)
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FEATURES, ids=lambda kind: kind or "encoded")
def test_kinds_are_those_of_table_7(kind):
    out, module = made_by_trunk(), heads.Features(trunk(), kind, 0, 0)
    initial = module.init(jax.random.key(0), out, MASK).get("params", {})
    assert set(initial) == ({"weights", "gain"} if "weighted" in kind else set())
    if initial:  # at the start a mean
        assert not initial["weights"].any() and initial["gain"] == 1
    params = numbers_like(initial)
    made = module.apply({"params": params}, out, MASK)
    np.testing.assert_allclose(made, KINDS[kind](out, params), rtol=1e-5, atol=1e-5)
    assert made.shape[-1] == heads.feature_size(trunk(), kind, 0, 0)


class JointSpanInTorch:
    """`JointSpanHead` of one row, the two states really side by side; its parameters and the row [S, F] are tensors."""

    def __init__(self, weights, states, possible):
        self.weights, self.states = weights, states
        self.albert = "norm" in weights  # squad_utils.py, create_v2_model
        self.activation = torch.tanh if self.albert else torch.nn.functional.gelu
        self.lower = torch.tensor([0.0 if flag else -1000.0 for flag in possible])
        self.starts = self.dense(states, "start")[:, 0] + self.lower

    def dense(self, x, name):
        return x @ self.weights[name]["kernel"] + self.weights[name].get("bias", 0.0)

    def ends(self, start):
        both = torch.cat([self.states[start].expand(len(self.states), -1), self.states], 1)
        hidden = self.activation(both @ self.weights["hidden_kernel"] + self.weights["hidden_bias"])
        if self.albert:
            norm = self.weights["norm"]
            hidden = torch.nn.functional.layer_norm(hidden, hidden.shape[-1:], norm["scale"], norm["bias"], 1e-12)
        return self.dense(hidden, "end")[:, 0] + self.lower

    def impossible(self):
        mean = (torch.softmax(self.starts, 0)[:, None] * self.states).sum(0)
        hidden = self.dense(torch.cat([self.states[0], mean]), "impossible_hidden")
        return self.dense(self.activation(hidden), "impossible")[0]


def seen(features, batch):
    return heads.Seen(batch, {}, features=features)


def random_joint_span(beam, answerable, states, batch, kind="electra"):
    """The head, and random parameters that make its logits neither tiny nor huge."""
    head = heads.JointSpanHead(trunk(), beam, answerable, kind)
    weights = numbers_like(jax.eval_shape(head.init, jax.random.key(0), seen(states, batch))["params"])
    for name in weights:
        weights[name] = jax.tree.map(lambda x: x / 4, weights[name])
    return head, weights


@pytest.mark.parametrize("kind", ["electra", "albert"])
def test_joint_spans_lose_what_they_do_in_torch_with_every_gradient(kind):
    random = np.random.default_rng(0)
    states = random.normal(size=(ROWS + 1, LENGTH, 6)).astype(np.float32)
    mask = np.concatenate([MASK, np.zeros((1, LENGTH), bool)])  # a row that fills a batch up
    batch = {"mask": mask, "segments": (mask & (np.arange(LENGTH) >= 2)).astype(np.int32)}
    batch["span"] = np.array([[3, 5], [0, 0], [0, 0], [2, 2], [0, 0]], np.int32)
    batch["impossible"] = np.array([0, 0, 1, 0, 0], bool)  # the second's answer is in another window
    head, weights = random_joint_span(3, True, states, batch, kind)
    assert weights["hidden_kernel"].shape == (12, 512 if kind == "electra" else WIDTH)

    @jax.jit
    def ours(weights, states):
        out = head.apply({"params": weights}, seen(states, batch))
        terms = [objectives.OBJECTIVES[name].loss(out, batch) for name in ("joint_span", "answerable")]
        return terms[0].sum / terms[0].weight + 0.5 * terms[1].sum / terms[1].weight, terms

    (loss, terms), gradients = jax.value_and_grad(ours, (0, 1), has_aux=True)(weights, states)
    assert [float(term.weight) for term in terms] == [2 * ROWS, ROWS]

    theirs = jax.tree.map(lambda x: torch.tensor(x, requires_grad=True), (weights, states))
    total, right, judged = 0.0, 0, 0
    for row, (span, impossible) in enumerate(zip(batch["span"][:ROWS].tolist(), batch["impossible"])):
        possible = [place == 0 or batch["segments"][row, place] == 1 for place in range(LENGTH)]
        if kind == "albert" and possible[LENGTHS[row] - 1] and LENGTHS[row] > 1:
            possible[LENGTHS[row] - 1] = False  # p_mask is 1 at the context's [SEP]
        head = JointSpanInTorch(theirs[0], theirs[1][row], possible)
        logits = head.starts, head.ends(span[0])
        lost = [-torch.log_softmax(x, 0)[place] for x, place in zip(logits, span)]
        truth = torch.sigmoid(head.impossible() if impossible else -head.impossible())
        total += (sum(lost) / 2 - 0.5 * torch.log(truth)) / ROWS
        right += [int(x.argmax()) for x in logits] == span
        judged += float(truth > 0.5)
    total.backward()
    assert float(loss) == pytest.approx(total.item(), rel=1e-5)
    expected = jax.tree.map(lambda x: x.grad.numpy(), theirs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), gradients, expected)
    assert all(np.abs(x).max() > 1e-3 for x in jax.tree.leaves(expected) if x.ndim > 1)
    assert [objectives.quotient(*term.metrics["accuracy"]) for term in terms] == [right / ROWS, judged / ROWS]


def test_padding_changes_nothing_that_a_head_says_of_real_tokens():
    """All heads at once, classes from the last states, tables narrower than the trunk; and bfloat16 is near float32."""
    config = finetune.get_config("albert-base,conll2003,features,smoke")
    config.update(dict(heads=("classes", "span"), task=dict(classes=3, features="weighted_sum_last_four")))
    config.model.update(pooler="plain", layers=2, vocab_size=20, scan=True)
    random = np.random.default_rng(0)
    tokens = random.integers(5, 20, (ROWS + 1, LENGTH), dtype=np.int32)
    mask = np.concatenate([MASK, np.zeros((1, LENGTH), bool)])  # a row that fills a batch up
    batch = dict(tokens=tokens, mask=mask, segments=np.zeros_like(tokens))
    wider = {name: np.pad(x, [(0, 0), (0, 5)]) for name, x in batch.items()}
    wider["tokens"] = np.where(wider["mask"], wider["tokens"], 19)
    model = build_model(config)
    assert model.options.reading == ("weighted_sum_last_four", 2, 16)
    params = numbers_like(jax.eval_shape(model.init, jax.random.key(0), batch)["params"])
    params = jax.tree.map(lambda x: x / 4, params)

    def logits(batch, dtype="float32"):
        config.model.dtype = dtype
        out = jax.jit(build_model(config).apply)({"params": params}, batch)
        names = {"token_class_logits": mask, "span_logits": mask, "class_logits": mask.any(-1)}
        return {name: np.asarray(out[name][:, :LENGTH])[real] for name, real in names.items()}

    made, same, rough = logits(batch), logits(wider), logits(batch, "bfloat16")
    for name, x in made.items():
        assert np.isfinite(x).all() and x.std() > 0.01
        np.testing.assert_allclose(x, same[name], atol=1e-5)
        np.testing.assert_allclose(x, rough[name], atol=0.1)


def test_what_there_is_not_is_refused():
    config = finetune.get_config("bert-tiny,conll2003,smoke")
    config.task.features = "concat_last_for"
    with pytest.raises(UserError, match="unknown task.features 'concat_last_for'; did you mean 'concat_last_four'"):
        build_model(config)
    config.update(dict(task=dict(features="second_to_last"), model=dict(layers=1)))
    with pytest.raises(UserError, match="second_to_last needs two layers, and model.layers=1"):
        build_model(config)
    config.losses.update(classify_tokens=0.0, mlm=1.0)  # no head of a task reads it
    assert build_model(config).options.reading == ("", 0, 0)


def test_flops_count_the_lstms():
    config = finetune.get_config("bert-base,conll2003,features")
    config.task.classes = 9
    count = flops.flops_per_token(build_model(config), 128, 0)
    config.task.update(features="", lstm=0)
    # By hand: four gates of two directions, of 4 x 768 numbers and a state of 768, then of 2 x 768; 9 classes.
    lstms = 8 * 768 * (4 * 768 + 768) + 8 * 768 * (2 * 768 + 768)
    assert count - flops.flops_per_token(build_model(config), 128, 0) == pytest.approx(6 * (lstms + 9 * 768))
    shapes = jax.eval_shape(build_model(config).init, jax.random.key(0), {
        name: jnp.zeros((1, 8), jnp.int32) for name in ("tokens", "mask", "segments")
    })  # fmt: skip
    assert "features" not in shapes["params"]


def test_alberts_joint_spans_start_as_the_trunk_and_drop_before_no_answer():
    config = finetune.get_config("albert-base,squad2")
    config.model.update(layers=1, vocab_size=50)
    model = build_model(config)
    assert (model.options.beam, model.options.answerable, model.bind({}).joint_span.dropout) == (5, True, 0.1)
    batch = {name: jnp.ones((2, 9), jnp.int32) for name in ("tokens", "mask", "segments")}
    batch |= {"index": jnp.arange(2), "span": jnp.full((2, 2), 3)}
    params = jax.jit(model.init)(jax.random.key(0), batch)["params"]
    kernels = [x for x in jax.tree.leaves(params["joint_span"]) if x.ndim == 2]
    assert all(0.01 < np.abs(x).max() <= 0.0401 for x in kernels)
    assert params["joint_span"]["impossible"].keys() == {"kernel"}
    config.model.update(dropout=0.0, attention_dropout=0.0)
    apply = jax.jit(lambda rngs: build_model(config).apply({"params": params}, batch, rngs=rngs))
    plain, dropped = apply({}), apply({"dropout": jax.random.key(1)})
    assert (plain["impossible_logit"] != dropped["impossible_logit"]).all()
    np.testing.assert_array_equal(plain["joint_span_logits"], dropped["joint_span_logits"])


def test_flops_count_what_joint_spans_train_on():
    config = finetune.get_config("electra-base,squad2")
    model = build_model(config)
    count = flops.flops_per_token(model, 128, 0) - flops.flops_per_token(model.clone(heads=()), 128, 0)
    # By hand: of every token a start, its half of the hidden layer and an end; the other half, and the classifier's 512
    # times 2 x 768 and its logit, once.
    tokens, once = 768 + 512 * 768 + 512, 512 * 768 + 512 * 2 * 768 + 512
    assert count == pytest.approx(6 * (tokens + once / 128))
    config.losses.answerable = 0.0
    fewer = flops.flops_per_token(build_model(config), 128, 0)
    assert flops.flops_per_token(model, 128, 0) - fewer == pytest.approx(6 * (512 * 2 * 768 + 512) / 128)
