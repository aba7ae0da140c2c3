"""MQAN and the networks it was grown from, next to a statement that reads one example at a time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ssl_jax import config as schema
from ssl_jax import flops, footprint
from ssl_jax.errors import UserError
from ssl_jax.models import mqan
from ssl_jax.models.model import build_model, dummy_batch
from ssl_jax.models.spec import COVE_SIZE, MqanOptions
from ssl_jax.models.transformer import TransformerConfig
from ssl_jax.optimizers import path_name
from tests.reference import mqan as plain

pytestmark = pytest.mark.slow  # compiles programs

# V words, of which G can be generated, and `EXTRA` ids for words without vectors; 10 over 3 heads is 4, 4 and 2.
V, G, EXTRA, WIDTH, VECTOR = 20, 12, 6, 10, 7
ROWS = [
    dict(self_attention=False, coattention=False, question_pointer=False),
    dict(coattention=False, question_pointer=False),
    dict(question_pointer=False),
    {},
]
PARAMETERS = [11_054_401, 12_663_001, 13_023_601, 14_469_902]  # of the released classes, instantiated with torch
LENGTHS = ((5, 3, 2), (1, 1, 1), (7, 2, 4))  # of context, question and answer


def build(row=3, dropout=0.0, **changes):
    config = TransformerConfig(
        network="mqan", vocab_size=V, hidden_size=WIDTH, layers=2, heads=3, ffn_size=6, dropout=dropout
    )
    options = dict(generative=G, vector_size=VECTOR, coattention_dropout=dropout)
    return mqan.Mqan(config, MqanOptions(**options, **ROWS[row] | changes))


def shapes(model):
    return jax.eval_shape(lambda: model.init(jax.random.key(0), dummy_batch()))["params"]


@functools.cache
def parameters(model, size=0.6, seed=0):
    """Values so large that attention and switches are far from uniform."""
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda x: random.normal(0, size, x.shape).astype(np.float32), shapes(model))


def flat(params):
    return {path_name(path): np.asarray(x, np.float64) for path, x in jax.tree_util.tree_leaves_with_path(params)}


def make_examples(lengths=LENGTHS, cove=False, seed=1):
    """Answers of words from the context, from the question, and of any others; some have no vector."""
    random = np.random.default_rng(seed)
    examples = []
    for c, q, a in lengths:
        context, question = (random.integers(4, V + EXTRA, n).tolist() for n in (c, q))
        words = random.choice([*context, *question, *random.integers(4, V + EXTRA, 3)], a).tolist()
        example = dict(context=context, question=question, answer=[mqan.START, *words, mqan.END])
        if cove:
            example |= {
                f"{name}_cove": random.normal(size=(len(example[name]), COVE_SIZE)) for name in ("context", "question")
            }
        examples.append(example)
    return examples


def make_batch(examples, longer=0):
    """Padded to the longest and `longer` columns more."""

    def rows(values):
        made = np.zeros((len(values), max(map(len, values)) + longer, *np.shape(values[0])[1:]), np.float32)
        for row, value in zip(made, values, strict=True):
            row[: len(value)] = value
        return made

    batch = {"index": np.arange(len(examples), dtype=np.int32)}
    for key, name in (("tokens", "context"), ("question", "question"), ("answer", "answer")):
        batch[key] = rows([example[name] for example in examples]).astype(np.int32)
        lengths = np.array([len(example[name]) for example in examples])
        batch["mask" if key == "tokens" else f"{key}_mask"] = np.arange(batch[key].shape[1]) < lengths[:, None]
    for key in ("context_cove", "question_cove"):
        if key in examples[0]:
            batch[key] = rows([example[key] for example in examples])
    return batch


@functools.cache
def compiled(model, **how):
    return jax.jit(functools.partial(model.apply, **how), static_argnums=(2, 3))


def run(model, batch, *arguments, params=None, **how):
    params = parameters(model) if params is None else params
    return jax.tree.map(np.asarray, compiled(model, **how)({"params": params}, batch, *arguments))


def by_id(model, out, batch, number):
    """The shares of all ids, [A, V + EXTRA], from those of the slots; an id that is no slot has NaN."""
    ids = np.concatenate([batch["tokens"], batch["question"]], 1)[number]
    copied = len(out["distribution"][number, 0]) - G
    shares = np.full((len(out["distribution"][number]), V + EXTRA), np.nan)
    shares[:, :G] = out["distribution"][number, :, :G]
    mask = np.concatenate([batch["mask"], batch["question_mask"]], 1)[number]
    if model.options.coattention:
        ids, mask = ids[:copied], mask[:copied]
    else:
        ids, mask = ids[np.argsort(~mask, kind="stable")], np.sort(~mask) == 0
    for place, word in reversed([*enumerate(ids)]):
        if mask[place] and word >= G:
            shares[:, word] = out["distribution"][number, :, G + place]
    return shares


@pytest.mark.parametrize("row, longer", [(0, 3), (1, 3), (2, 3), (3, 3), (3, 0)])
def test_shares_are_those_of_the_plain_statement_whatever_the_padding(row, longer):
    model, examples = build(row), make_examples()
    batch = make_batch(examples, longer)
    out = run(model, batch)
    for number, example in enumerate(examples):
        shares = plain.distributions(flat(parameters(model)), example, row, extra=EXTRA)
        targets = np.array(example["answer"][1:])
        steps = len(targets)
        expected = np.log(shares[np.arange(steps), targets])
        np.testing.assert_allclose(out["answer_log_probs"][number, :steps], expected, rtol=2e-5, atol=2e-5)
        np.testing.assert_array_equal(out["answer_best"][number, :steps], shares.argmax(1))
        ours = by_id(model, out, batch, number)[:steps]
        slots = ~np.isnan(ours)
        np.testing.assert_allclose(ours[slots], shares[slots], rtol=1e-4, atol=2e-9)


@pytest.mark.parametrize("row", range(4))
def test_shares_sum_to_one(row):
    """But for 1e-10 for each place and slot, and float32's rounding."""
    out = run(build(row), make_batch(make_examples(), 3))
    np.testing.assert_allclose(out["distribution"].sum(-1), 1, atol=1e-6)


def test_a_word_that_can_be_copied_alone_has_the_share_of_its_places_and_any_other_the_epsilon():
    model = build()
    example = dict(context=[5, V + 1, 6], question=[V + 1, 7], answer=[mqan.START, V + 1, V + 2, G, mqan.END])
    out = run(model, make_batch([example]))
    shares = np.exp(out["answer_log_probs"][0])
    copied = (1 - out["generate"][0]) * (
        out["context"][0] * out["attention"][0][0, :, 1] + (1 - out["context"][0]) * out["attention"][1][0, :, 0]
    )
    assert shares[0] == pytest.approx(copied[0], rel=1e-5) and shares[0] > 1e-3
    np.testing.assert_allclose(shares[1:3], plain.EPSILON, rtol=1e-5)


@pytest.mark.parametrize("row", range(4))
def test_parameters_are_as_many_as_the_releases(row):
    config = TransformerConfig(network="mqan", vocab_size=60_000, hidden_size=200, layers=2, heads=3, ffn_size=150)
    counts = {}
    for cove in (False, True):
        model = mqan.Mqan(config, MqanOptions(cove=cove, **ROWS[row]))
        counts[cove] = sum(x.size for name, x in shapes(model).items() for x in jax.tree.leaves(x) if name != "vectors")
    assert counts == {False: PARAMETERS[row], True: PARAMETERS[row] + COVE_SIZE * 200}


def test_context_vectors_are_read_before_the_words_own():
    model, examples = build(cove=True), make_examples(cove=True)
    out = run(model, make_batch(examples, 2))
    for number, example in enumerate(examples):
        shares = plain.distributions(flat(parameters(model)), example, extra=EXTRA)
        targets = np.array(example["answer"][1:])
        expected = np.log(shares[np.arange(len(targets)), targets])
        np.testing.assert_allclose(out["answer_log_probs"][number, : len(targets)], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("row", range(4))
@pytest.mark.parametrize("beams", [1, 3])
def test_decoding_follows_the_teacher_forced_pass(row, beams):
    """Greedily each word is the best after those before it; of three beams each is a real answer, no likelier one left out."""
    model, batch = build(row), make_batch(make_examples(), 1)
    length, params = 5, parameters(model, 1.0, 2)  # with which answers differ, and one ends
    found = run(model, batch, length, beams, params=params, method="decode")
    assert found.shape == (len(LENGTHS), length) and len(np.unique(found)) > 2
    best = run(model, batch | given(found), params=params)["answer_best"]
    expected = beam_search(model, params, batch, length, beams) if beams > 1 else None
    for number, answer in enumerate(found):
        ends = np.flatnonzero(answer == mqan.END)
        count = ends[0] + 1 if len(ends) else length
        assert (answer[count:] == mqan.PADDING).all()
        if beams == 1:
            np.testing.assert_array_equal(answer[:count], best[number, :count])
        else:
            np.testing.assert_array_equal(answer, expected[number])


def given(answers):
    """An answer's part of a batch: START and the words of `answers`, without padding."""
    answers = np.concatenate([np.full((len(answers), 1), mqan.START), answers], 1).astype(np.int32)
    return {"answer": answers, "answer_mask": np.ones(answers.shape, bool)}


def beam_search(model, params, batch, length, beams):
    """One example, one beginning, one word at a time, by whole passes over the beginnings."""
    found = []
    for number in range(len(batch["tokens"])):
        one = {name: x[number : number + 1] for name, x in batch.items()}
        kept = [(0.0, [])]
        for _ in range(length):
            longer = []
            for score, words in kept:
                if mqan.END in words:
                    longer.append((score, words))
                    continue
                padded = np.array([words + [mqan.PADDING] * (length - len(words))])
                out = run(model, one | given(padded), params=params)
                for word, share in enumerate(by_id(model, out, one, 0)[len(words)]):
                    if share > 0:
                        longer.append((score + np.log(share), [*words, word]))
            kept = sorted(longer, key=lambda x: -x[0])[:beams]
        words = kept[0][1]
        found.append(words + [mqan.PADDING] * (length - len(words)))
    return found


def test_the_releases_decoder_differs_from_the_trained_one():
    batch = make_batch(make_examples(), 4)
    trained, released = (run(build(release_decoding=how), batch, 5, method="decode") for how in (False, True))
    assert (trained != released).any()


def test_vectors_are_trained_only_where_they_are_not_frozen():
    batch = make_batch(make_examples())
    for frozen in (True, False):
        model = build(vectors_frozen=frozen)
        gradients = jax.jit(
            jax.grad(lambda p, model=model: model.apply({"params": p}, batch)["answer_log_probs"].sum())
        )(parameters(model))
        assert bool(jnp.abs(gradients.pop("vectors")).max() > 0) != frozen
        still = [name for name, g in flat(gradients).items() if not g.any()]
        assert still == ["pointer/context_input_kernel", "pointer/question_input_kernel"]  # no reader in the release


def test_a_row_of_padding_has_finite_shares_and_gradients():
    model, batch = build(), make_batch(make_examples())
    for name in ("tokens", "question", "answer"):
        batch[name][1] = 0
        batch["mask" if name == "tokens" else f"{name}_mask"][1] = False

    def total(params):
        out = model.apply({"params": params}, batch)
        return jnp.where(batch["answer_mask"][:, 1:], out["answer_log_probs"], 0).sum(), out

    (_, out), gradients = jax.jit(jax.value_and_grad(total, has_aux=True))(parameters(model))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((out, gradients)))


def test_dropout_is_an_examples_own():
    """Its index decides, not its place in a batch; without a rng there is none."""
    model, batch = build(dropout=0.4), make_batch(make_examples())
    apply = jax.jit(lambda batch, key: model.apply({"params": parameters(model)}, batch, rngs={"dropout": key}))
    whole = apply(batch, jax.random.key(0))["answer_log_probs"]
    order = np.array([2, 0, 1])
    turned = apply({name: x[order] for name, x in batch.items()}, jax.random.key(0))["answer_log_probs"]
    np.testing.assert_allclose(turned, whole[order], rtol=1e-5, atol=1e-5)
    other = apply(batch, jax.random.key(1))["answer_log_probs"]
    assert not np.allclose(whole, other) and not np.allclose(whole, run(model, batch)["answer_log_probs"])


def test_bidirectional_lstms_that_run_together_are_torchs():
    random, names = np.random.default_rng(0), dict(input="weight_ih", recurrent="weight_hh")
    names = {f"{name}_kernel": f"{theirs}_l0" for name, theirs in names.items()}
    names |= {f"{name}_bias": f"bias_{theirs}_l0" for name, theirs in (("input", "ih"), ("recurrent", "hh"))}
    theirs = [torch.nn.LSTM(5, 4, bidirectional=True, batch_first=True) for _ in range(2)]
    params = [
        {name: np.stack([getattr(one, f"{their}{end}").detach().numpy().T for end in ("", "_reverse")])
         for name, their in names.items()}
        for one in theirs
    ]  # fmt: skip
    lengths = [6, 1, 4], [2, 3, 0]
    texts = [random.normal(size=(3, max(own), 5)).astype(np.float32) for own in lengths]
    masks = [np.arange(max(own)) < np.array(own)[:, None] for own in lengths]
    lstms = [lambda *inputs, own=own: mqan.BiLSTM(8, "float32").apply({"params": own}, *inputs) for own in params]
    found = jax.jit(lambda: mqan.read_together(lstms, texts, masks))()
    for (states, (h, c)), one, x, own in zip(found, theirs, texts, lengths, strict=True):
        rows = [row for row, length in enumerate(own) if length]  # torch packs no empty text
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            torch.tensor(x[rows]), [own[row] for row in rows], batch_first=True, enforce_sorted=False
        )
        with torch.no_grad():
            expected, last = one(packed)
        expected = torch.nn.utils.rnn.pad_packed_sequence(expected, batch_first=True)[0]
        np.testing.assert_allclose(states[np.array(rows)], expected, atol=1e-6)
        for value, pair in zip((h, c), last, strict=True):
            np.testing.assert_allclose(value[np.array(rows)], np.concatenate(pair.numpy(), axis=1), atol=1e-6)
    assert not np.asarray(found[1][0][2]).any()  # a text of padding


def test_initial_values_are_torchs():
    config = TransformerConfig(network="mqan", vocab_size=300, hidden_size=64, layers=1, heads=3, ffn_size=50)
    model = mqan.Mqan(config, MqanOptions(generative=200, vector_size=40))
    params = jax.jit(lambda: model.init(jax.random.key(0), dummy_batch()))()["params"]
    bounds = {
        "read/dense/kernel": 40**-0.5, "read/dense/bias": 40**-0.5, "output/kernel": 64**-0.5,
        "first_lstm/input_kernel": 32**-0.5, "first_lstm/recurrent_bias": 32**-0.5, "pointer/input_kernel": 64**-0.5,
        "pointer/context_kernel": 128**-0.5, "decoder_0/cross/query": 64**-0.5, "decoder_0/outer/kernel": 50**-0.5,
        "pointer/vocabulary_switch/dense/kernel": 256**-0.5,
    }  # fmt: skip
    values = flat(params)
    for name, bound in bounds.items():
        assert abs(values[name]).max() <= bound, name
        assert values[name].std() == pytest.approx(bound / 3**0.5, rel=0.2), name
    assert values["coattention/sentinels"].std() == pytest.approx(1, rel=0.2)
    assert (values["decoder_0/cross_norm/scale"] == 1).all() and not values["decoder_0/cross_norm/bias"].any()


def products(jaxpr):
    """Multiplications of all matrix products of a jaxpr, those in a loop as often as it runs."""
    count = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            count += equation.outvars[0].aval.size * int(np.prod([left[axis] for axis in contracted]))
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                count += products(inner) * equation.params.get("length", 1)
    return count


@pytest.mark.parametrize("row", range(4))
def test_products_are_counted_as_they_are_computed(row):
    c, q, a = 9, 4, 5
    config = TransformerConfig(network="mqan", vocab_size=V, hidden_size=12, layers=2, heads=3, ffn_size=6)
    model = mqan.Mqan(config, MqanOptions(generative=G, vector_size=VECTOR, cove=True, **ROWS[row]))
    batch = make_batch(make_examples([(c, q, a - 1)], cove=True))
    traced = jax.make_jaxpr(lambda params: model.apply({"params": params}, batch))(shapes(model))
    expected = mqan.forward_products(config, model.options, c, q, a)
    # LSTMs that run together step as often as the longest text: 4H x H / 2 for both directions, at nothing.
    together = model.options.coattention + 2 * model.options.question_pointer
    assert products(traced.jaxpr) == expected + together * (c - q) * 2 * config.hidden_size**2
    assert flops.flops_per_token(model, c, a, question=q) * c == pytest.approx(6 * expected)


def make_config(**changes):
    config = schema.base()
    config.model.update(network="mqan", hidden_size=20, heads=3, vocab_size=50)
    config.update_from_flattened_dict(changes)
    return config


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"mqan.coattention": False}, "mqan.question_pointer builds on mqan.coattention"),
        ({"model.hidden_size": 21}, "model.hidden_size=21: the two directions"),
        ({"losses.mlm": 1.0}, "model.network=mqan answers questions and has no other heads: set losses.mlm=0"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        build_model(make_config(**changes))


def test_a_config_builds_the_network():
    model = build_model(make_config(**{"mqan.cove": True}))
    assert isinstance(model, mqan.Mqan) and model.generative == 50 and model.options.cove


def test_its_memory_is_not_estimated():
    with pytest.raises(UserError, match="model.network=mqan takes of a device is not estimated"):
        footprint.estimate(None, build(), cut=None, phase=None, shapes=None)
