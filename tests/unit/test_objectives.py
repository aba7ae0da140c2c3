"""Terms are sums and weights: their parts add up, and what does not count changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import objectives
from ssl_jax.config import base
from ssl_jax.models.visibility import visible
from ssl_jax.optimizers import path_name

CONFIG = base()
CONFIG.teacher.temperature = CONFIG.task.scale = 2.0


def example(rows=16, predictions=5, size=11, length=9, seed=0):
    """What a model with all heads makes (`out`), and a batch with what all objectives read."""
    random = np.random.default_rng(seed)
    normal = lambda *shape: jnp.asarray(random.normal(size=shape) * 3, jnp.float32)  # noqa: E731
    out = {
        "mlm_logits": normal(rows, predictions, size),
        "restored_logits": normal(rows, predictions, size),
        "pair_logits": normal(rows, 2),
        "class_logits": normal(rows, 5),
        "clm_logits": normal(rows, predictions, size),
        "replaced_logit": normal(rows, length),
        "copied_logits": normal(rows, length, size),
        "copy_logit": normal(rows, length),
        "baseline_logit": normal(rows, predictions),
        "tokens": random.integers(0, size, (rows, length)),
    }
    ours, theirs = (
        {"states": normal(4, rows, length, 6), "scores": normal(3, rows, 2, length, length)} for _ in range(2)
    )
    tokens, encoded, classes = normal(2, rows, length, size), normal(2, rows, length, 7), normal(rows, 5)
    out |= {"fitted": ours["states"], "layers": {"scores": ours["scores"]}}
    out |= {"token_logits": tokens[0], "encoded": encoded[0]}
    out["teacher"] = theirs | {"token_logits": tokens[1], "encoded": encoded[1], "class_logits": classes}
    out["teacher"]["predicted_logits"] = normal(rows, predictions, size)
    batch = {
        "targets": random.integers(0, size, (rows, predictions)),
        "weights": random.integers(0, 2, (rows, predictions)).astype(np.float32),
        "positions": random.integers(0, length, (rows, predictions)),
        "pair": random.integers(0, 2, rows),
        "label": random.integers(0, 5, rows),
        "mask": np.arange(length) < random.integers(3, length + 1, (rows, 1)),
        "original": np.where(random.integers(0, 2, (rows, length)), out["tokens"], 3),
    }
    batch["tokens"] = np.full((rows, length), size - 1)  # as the generator saw them
    batch["mask"][-1] = False  # a row that fills up a batch
    batch["weights"][-1] = 0
    batch["positions"][0, :2], batch["weights"][0, :2] = 1, 1  # drawn twice, as ELECTRA may
    out["replaced"] = out["tokens"] != batch["original"]
    out |= {"choice_logit": normal(rows, 5), "span_logits": normal(rows, length, 2)}
    out |= {"joint_span_logits": normal(rows, length, 2), "impossible_logit": normal(rows)}
    out["teacher"]["span_logits"] = normal(rows, length, 2)
    out["token_class_logits"] = normal(rows, length, 4)
    batch["span"] = random.integers(0, length + 2, (rows, 2))  # some are outside the row
    batch["impossible"] = random.integers(0, 2, rows).astype(bool)
    batch["token_label"] = random.integers(-1, 4, (rows, length))
    out["answer_log_probs"] = -abs(normal(rows, 4))
    batch["answer_mask"] = np.arange(5) < random.integers(2, 6, (rows, 1))  # a start, words, an end
    batch["answer_mask"][-1] = False
    return out, batch


def softmax(logits):
    shares = np.exp(np.asarray(logits, np.float64))
    return shares / shares.sum(-1, keepdims=True)


def sigmoid(logits):
    return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))


def mean(sums):
    return sums[0] / sums[1]


@pytest.mark.parametrize(
    "name, logits", [("mlm", "mlm_logits"), ("replaced_mlm", "restored_logits"), ("clm", "clm_logits")]
)
def test_language_models_lose_the_mean_negative_log_probability_of_the_targets(name, logits):
    out, batch = example()
    term = objectives.OBJECTIVES[name].loss(out, batch)
    losses, correct = [], []
    for row, place in np.argwhere(batch["weights"]):
        probabilities = softmax(out[logits][row, place])
        losses.append(-np.log(probabilities[batch["targets"][row, place]]))
        correct.append(probabilities.argmax() == batch["targets"][row, place])
    np.testing.assert_allclose(term.sum / term.weight, np.mean(losses), rtol=1e-5)
    np.testing.assert_allclose(mean(term.metrics["accuracy"]), np.mean(correct))
    assert term.metrics["accuracy"][1] == term.weight == len(losses)


def test_the_language_model_beside_a_task_may_lose_a_mean_of_each_sequence():
    """lm_losses of train.py in openai/finetune-transformer-lm: a sequence's own mean, then the mean over sequences."""
    out, batch = example()
    config = base()
    config.task.language_mean = "sequences"
    loss, weight = objectives.OBJECTIVES["clm"].bind(config)
    term, means = loss(out, batch), []
    for logits, targets, counted in zip(out["clm_logits"], batch["targets"], batch["weights"] > 0):
        if counted.any():  # not the row that fills up the batch
            chosen = softmax(logits)[np.arange(len(targets)), targets]
            means.append(-np.log(chosen)[counted].mean())
    np.testing.assert_allclose(term.sum / term.weight, np.mean(means), rtol=1e-5)
    assert term.weight == weight(batch) == len(means) < len(batch["weights"])
    tokens = objectives.clm(out, batch)
    assert abs(tokens.sum / tokens.weight - np.mean(means)) > 0.01
    assert term.metrics["accuracy"] == tokens.metrics["accuracy"]
    halves = [loss(cut(out, rows), cut(batch, rows)) for rows in (slice(0, 5), slice(5, None))]
    np.testing.assert_allclose(sum(half.sum for half in halves), term.sum, rtol=1e-5)
    assert sum(half.weight for half in halves) == term.weight


def among_the_chosen(batch):
    """[B, S]: the positions of predictions that count, each once however often it was drawn."""
    marks = np.zeros(batch["mask"].shape, bool)
    for row, place in np.argwhere(batch["weights"]):
        marks[row, batch["positions"][row, place]] = True
    return marks


@pytest.mark.parametrize(
    "name, counted", [("rtd", lambda batch: batch["mask"]), ("rtd_masked", among_the_chosen)], ids=["rtd", "rtd_masked"]
)
def test_detection_loses_the_binary_cross_entropy_where_it_looks(name, counted):
    out, batch = example()
    term = objectives.OBJECTIVES[name].loss(out, batch)
    here = counted(batch)
    probability, replaced = sigmoid(out["replaced_logit"])[here], out["replaced"][here]
    loss = -np.where(replaced, np.log(probability), np.log(1 - probability))
    np.testing.assert_allclose(term.sum / term.weight, loss.mean(), rtol=1e-5)
    flagged = probability > 0.5
    metrics = {key: mean(term.metrics[key]) for key in ("accuracy", "replaced", "precision", "recall")}
    expected = dict(
        accuracy=(flagged == replaced).mean(),
        replaced=replaced.mean(),
        precision=replaced[flagged].mean(),
        recall=flagged[replaced].mean(),
    )
    assert metrics == pytest.approx(expected, rel=1e-6)
    assert term.weight == here.sum()


def area_by_pairs(scores, positive):
    """The share of pairs in which the positive has the higher score; a tie is half a pair."""
    difference = scores[positive][:, None] - scores[~positive]
    return ((difference > 0) + (difference == 0) / 2).mean()


def test_the_area_under_the_curve_is_the_share_of_ordered_pairs():
    random = np.random.default_rng(0)
    mask = random.integers(0, 4, (40, 50)) > 0
    replaced = random.integers(0, 3, mask.shape) == 0
    # Few scores, so many ties; each in the middle of one of the 200 bins.
    score = (random.integers(60, 80, mask.shape) + 5 * replaced + 0.5) / 200
    logit = jnp.asarray(np.log(score / (1 - score)), jnp.float32)
    # The histograms of two parts add up, as those of devices and batches do.
    whole = [0, 0]
    for part in (slice(0, 7), slice(7, 40)):
        out = {"replaced_logit": logit[part], "replaced": replaced[part]}
        histograms = objectives.rtd(out, {"mask": mask[part]}).metrics["auc"]
        whole = [total + np.asarray(new) for total, new in zip(whole, histograms, strict=True)]
    expected = area_by_pairs(score[mask], replaced[mask])
    assert 0.6 < expected < 0.9
    assert objectives.quotient(*whole) == pytest.approx(expected, rel=1e-5)


def test_the_area_is_within_a_bin_of_that_of_free_scores():
    random = np.random.default_rng(0)
    replaced = random.integers(0, 3, (40, 50)) == 0
    logit = random.normal(size=replaced.shape) + replaced
    out = {"replaced_logit": jnp.asarray(logit, jnp.float32), "replaced": replaced}
    area = objectives.quotient(*objectives.rtd(out, {"mask": np.ones_like(replaced)}).metrics["auc"])
    assert area == pytest.approx(area_by_pairs(logit, replaced), abs=1e-3)


def test_quotients_of_nothing_are_zero():
    assert objectives.quotient(0.0, 0.0) == 0
    assert objectives.quotient(np.zeros(3), np.ones(3)) == objectives.quotient(np.ones(3), np.zeros(3)) == 0


@pytest.mark.parametrize("generator", [True, False])
def test_all_tokens_mixes_the_shown_token_with_the_prediction(generator):
    out, batch = example()
    if not generator:  # a text with [MASK] and the like
        batch["tokens"] = out.pop("tokens")
    shown = out["tokens"] if generator else batch["tokens"]
    term = objectives.all_tokens(out, batch)
    gate = sigmoid(out["copy_logit"])[..., None]
    probabilities = gate * np.eye(11)[shown] + (1 - gate) * softmax(out["copied_logits"])
    np.testing.assert_allclose(probabilities.sum(-1), 1)
    of_truth = np.take_along_axis(probabilities, batch["original"][..., None], -1)[..., 0]
    np.testing.assert_allclose(term.sum / term.weight, -np.log(of_truth[batch["mask"]]).mean(), rtol=1e-5)
    right = probabilities.argmax(-1) == batch["original"]
    assert term.weight == batch["mask"].sum()
    assert mean(term.metrics["accuracy"]) == pytest.approx(right[batch["mask"]].mean())
    chosen = among_the_chosen(batch) & batch["mask"]
    assert mean(term.metrics["chosen_accuracy"]) == pytest.approx(right[chosen].mean())


def test_all_tokens_survives_gates_and_logits_that_are_sure():
    out, batch = example()
    out |= {"copy_logit": out["copy_logit"] * 100, "copied_logits": out["copied_logits"] * 100}
    loss, gradients = jax.value_and_grad(lambda logits: objectives.all_tokens(out | logits, batch).sum)(
        {key: out[key] for key in ("copy_logit", "copied_logits")}
    )
    assert all(np.isfinite(value).all() for value in [loss, *gradients.values()])


def test_the_generator_is_trained_against_the_discriminator_by_reinforce():
    out, batch = example()
    names = ("mlm_logits", "baseline_logit", "replaced_logit")
    gradients = jax.grad(lambda logits: objectives.adversarial(out | logits, batch).sum)({k: out[k] for k in names})
    # The reward is the discriminator's loss at the sample's position.
    probability = sigmoid(out["replaced_logit"])
    losses = -np.where(out["replaced"], np.log(probability), np.log(1 - probability))
    reward = np.take_along_axis(losses, batch["positions"], 1)
    baseline = -np.log(sigmoid(out["baseline_logit"]))
    advantage = (reward - baseline) * batch["weights"]
    # d log p(judged) / d logits = onehot - softmax, and the loss is the negative of what is to grow.
    judged = np.take_along_axis(out["tokens"], batch["positions"], 1)  # of two samples at a place, the one shown
    ascent = np.eye(11)[judged] - softmax(out["mlm_logits"])
    np.testing.assert_allclose(gradients["mlm_logits"], -advantage[..., None] * ascent, rtol=1e-4, atol=1e-5)
    assert (gradients["replaced_logit"] == 0).all()
    # The baseline's sigmoid learns the probability that the discriminator gave to the truth.
    expected = (sigmoid(out["baseline_logit"]) - np.exp(-reward)) * batch["weights"]
    np.testing.assert_allclose(gradients["baseline_logit"], expected, rtol=1e-4, atol=1e-5)
    term = objectives.adversarial(out, batch)
    assert mean(term.metrics["reward"]) == pytest.approx((reward * batch["weights"]).sum() / batch["weights"].sum())


@pytest.mark.parametrize("name, logits, label", [("nsp", "pair_logits", "pair"), ("classify", "class_logits", "label")])
def test_classes_of_rows_lose_the_mean_negative_log_probability_where_a_row_is_no_padding(name, logits, label):
    out, batch = example()
    term = objectives.OBJECTIVES[name].loss(out, batch)
    probabilities, labels = softmax(out[logits])[:-1], batch[label][:-1]  # the last row is padding
    of_truth = probabilities[np.arange(15), labels]
    np.testing.assert_allclose(term.sum / term.weight, -np.log(of_truth).mean(), rtol=1e-5)
    assert mean(term.metrics["accuracy"]) == pytest.approx((probabilities.argmax(-1) == labels).mean())
    assert term.weight == 15


# By objective: the logits in which an answer can be written, and how: one that ignores the examples.
LOGITS = {
    "mlm": "mlm_logits", "clm": "clm_logits", "nsp": "pair_logits", "sop": "pair_logits", "replaced_mlm": "restored_logits",
    "adversarial": "mlm_logits", "classify": "class_logits", "soft_labels": "class_logits", "choose": "choice_logit",
    "classify_tokens": "token_class_logits", "rtd": "replaced_logit", "rtd_masked": "replaced_logit",
    "answerable": "impossible_logit", "span": "span_logits", "joint_span": "joint_span_logits", "all_tokens": "copy_logit",
}  # fmt: skip


def blind_answers(name, out):
    """Yields `out` with each answer that looks at no example in the place of the logits."""
    logits = np.zeros_like(out[LOGITS[name]])
    if name in ("rtd", "rtd_masked", "answerable"):
        answers = [logits - 1, logits + 1]
    elif name in ("span", "joint_span"):  # [CLS] to [CLS]
        answers = [logits + (np.arange(logits.shape[1]) == 0)[:, None]]
    elif name == "all_tokens":  # copies
        answers = [logits + 100]
    else:
        answers = [logits + np.eye(logits.shape[-1])[n] for n in range(logits.shape[-1])]
    for answer in answers:
        yield out | {LOGITS[name]: jnp.asarray(answer, jnp.float32)}


@pytest.mark.parametrize("name", LOGITS)
def test_chance_is_what_the_best_answer_that_looks_at_no_example_gets(name):
    out, batch = example()
    batch["span"][:4] = 0
    found = [term(name, blind, batch).metrics for blind in blind_answers(name, out)]
    for accuracy in [key for key in found[0] if key.endswith("accuracy")]:
        best = max(objectives.quotient(*metrics[accuracy]) for metrics in found)
        chance = objectives.quotient(*term(name, out, batch).metrics[objectives.chance_of(accuracy)])
        assert chance == pytest.approx(best) and 0 < chance < 1


def test_every_accuracy_has_a_chance_which_batches_add_up_to():
    """Of two batches with different favourites it is that of both together, not the mean of theirs."""
    out, batch = example()
    for name in objectives.OBJECTIVES:
        metrics = term(name, out, batch).metrics
        accuracies = {key for key in metrics if key.endswith("accuracy")}
        assert {objectives.chance_of(key) for key in accuracies} == {key for key in metrics if key.endswith("chance")}
        assert bool(accuracies) == (name in LOGITS)
    halves = [batch | {"pair": np.where(np.arange(16) < few, 1, 0)} for few in (3, 13)]
    counts = [objectives.OBJECTIVES["nsp"].loss(out, half).metrics["chance"] for half in halves]
    assert [objectives.quotient(*pair) for pair in counts] == pytest.approx([12 / 15, 13 / 15])
    assert objectives.quotient(*map(sum, zip(*counts))) == pytest.approx(16 / 30)


def term(name, out, batch):
    """An objective with the options that a config gives it."""
    return objectives.OBJECTIVES[name].bind(CONFIG)[0](out, batch)


def cut(tree, rows):
    """Some rows of `out` or of a batch; what has an entry for each layer has rows on its second axis."""

    def take(path, x):
        stacked = {"fitted", "states", "scores"} & set(path_name(path).split("/"))
        return x[:, rows] if stacked else x[rows]

    return jax.tree_util.tree_map_with_path(take, tree)


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_the_parts_of_a_batch_add_up_to_the_whole(name):
    out, batch = example()
    whole = term(name, out, batch)
    parts = [term(name, cut(out, rows), cut(batch, rows)) for rows in (slice(0, 1), slice(1, None))]
    jax.tree.map(lambda a, b, c: np.testing.assert_allclose(a + b, c, rtol=1e-5), *parts, whole)


@pytest.mark.parametrize("name", objectives.OBJECTIVES)
def test_a_weight_is_what_its_row_counts_in_the_batch_alone(name):
    out, batch = example()
    _, weight = objectives.OBJECTIVES[name].bind(CONFIG)
    for outputs in (out, example(seed=1)[0]):
        assert term(name, outputs, batch).weight == weight(batch) > 0


def test_cross_entropy_survives_large_logits():
    logits = jnp.asarray([[1e4, 0.0, -1e4]])
    np.testing.assert_allclose(objectives.cross_entropy(logits, jnp.asarray([0])), 0, atol=1e-6)
    np.testing.assert_allclose(objectives.cross_entropy(logits, jnp.asarray([1])), 1e4)
    half = objectives.cross_entropy(logits.astype(jnp.bfloat16), jnp.asarray([0]))
    assert half.dtype == jnp.float32


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("documents", [False, True])
def test_pairs_of_tokens_are_those_that_the_trunk_lets_see_each_other(causal, documents):
    batch = {"tokens": np.zeros((3, 6), int), "mask": np.arange(6) < np.array([[6], [4], [0]])}
    if documents:
        batch["documents"] = np.array([[0, 0, 1, 1, 1, 2]] * 3)
    allowed = visible(batch, causal, 2 * causal)[0, :, 0]
    expected = np.broadcast_to(allowed, (3, 6, 6)) & batch["mask"][:, :, None]
    np.testing.assert_array_equal(objectives.pairs_of_tokens(batch, causal=causal), expected)
