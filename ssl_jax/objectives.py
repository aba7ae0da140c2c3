"""All training objectives: pure functions `loss(out, batch) -> Term`, registered in OBJECTIVES at the end of this file.

Float32; no parameters, no rng. A term is a sum and a weight, never a mean: the only mean is taken over the global batch
(step.py), so the loss does not depend on how the batch is split. What counts, and so the weight, depends only on the
batch: the functions up to `pairs_of_tokens` return it.

Distillation also reads `out['teacher']`, a dict of the teacher's outputs for the same batch, without gradient; see
distill.py for the list.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ssl_jax.errors import check_choice
from ssl_jax.lazy import jax, jnp  # a config is checked against the rows before JAX is loaded
from ssl_jax.models import decoding
from ssl_jax.models.visibility import visible
from ssl_jax.options import number, option

AUC_BINS = 200  # thresholds between 0 and 1, as in tf.metrics.auc


class Term(NamedTuple):
    """One objective on one part of a batch.

    Attributes:
      sum: [] float32, summed over the examples (or tokens) that count.
      weight: [] float32, the number that count.
      metrics: name -> two sums, reported as `quotient` of their totals. Each `accuracy` comes with its `chance`: the
        accuracy, on the same examples, of the best input-independent answer. Unless the objective says otherwise, that
        is the frequency of the most common label, from `label_counts`.
    """

    sum: jax.Array
    weight: jax.Array
    metrics: dict


def quotient(numerator, denominator):
    """The reported value of two totals: their quotient; 0 if nothing counted.

    For label counts (an array) and a number: the frequency of the most common label. For two arrays, the score
    histograms of positives and negatives: the area under the ROC curve, which is the probability that a positive
    scores higher, ties counting half.
    """
    if np.ndim(denominator):
        below = np.cumsum(denominator) - denominator / 2
        numerator, denominator = (numerator * below).sum(), numerator.sum() * denominator.sum()
    elif np.ndim(numerator):
        numerator = numerator.max()
    return float(numerator / denominator) if denominator else 0.0


def chance_of(name):
    """The name of the metric that holds an accuracy's chance level; None if `name` is not an accuracy."""
    return name.removesuffix("accuracy") + "chance" if name.endswith("accuracy") else None


def cross_entropy(logits, targets):
    """-log softmax(logits)[target] in float32: [..., V], [...] to [...]."""
    logits = logits.astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen


def label_counts(labels, weights, size):
    """Counts each label where the weight is 1 (not 0): integers [...] and [...] to float32 [size]."""
    # In integers: on a GPU a float scatter is slow when many updates hit one index, as with frequent tokens.
    counts = jnp.zeros(size, jnp.int32).at[labels.ravel()].add(weights.ravel().astype(jnp.int32))
    return counts.astype(jnp.float32)


# ---- What counts: functions of the batch only, bool or 0/1; the sum is the weight.


def predicted(batch):
    """The predictions that corruption requests: `batch['weights']` [B, P]."""
    return batch["weights"]


def predicted_of(batch, *, language_mean):
    """As `predicted`; for a mean of 'sequences' those with a prediction, [B]."""
    return predicted(batch) if language_mean == "tokens" else predicted(batch).any(-1)


def tokens(batch):
    """All tokens except padding: `batch['mask']` [B, S]."""
    return batch["mask"] != 0


def chosen(batch):
    """The tokens that corruption chose: bool [B, S], from `batch['positions']` and `['weights']` [B, P]."""
    rows = jax.nn.one_hot(batch["positions"], batch["mask"].shape[1]) * batch["weights"][..., None]
    return rows.any(1)


def rows(batch):
    """Rows with a real token, [B]; the others pad the last batch."""
    return (batch["mask"] != 0).any(-1)


def examples(batch):
    """Examples with a real token, [B]; an example's C rows are consecutive in `batch['mask']` [B * C, S]."""
    return (batch["mask"] != 0).reshape(len(batch["label"]), -1).any(-1)


def labelled(batch):
    """Examples with a label, [B]; an unknown one is -1."""
    return examples(batch) & (batch["label"] >= 0)


def scored(batch):
    """Examples with a score, [B]; an unknown one is NaN."""
    return examples(batch) & ~jnp.isnan(batch["label"].astype(jnp.float32))


def labelled_tokens(batch):
    """Tokens with a label, [B, S]; the others have -1."""
    return tokens(batch) & (batch["token_label"] >= 0)


def ends_inside(batch):
    """Starts and ends of answers that lie inside their row, [B, 2]."""
    positions = batch["span"]
    return (positions >= 0) & (positions < batch["mask"].shape[1]) & rows(batch)[:, None]


def both_ends(batch):
    """Start and end of every row with a real token, [B, 2]."""
    return jnp.broadcast_to(rows(batch)[:, None], (len(batch["mask"]), 2))


def pairs_of_tokens(batch, *, causal):
    """Pairs of real tokens where the first sees the second in a layer without a band, [B, S, S]."""
    return visible(batch, causal)[0, :, 0] & tokens(batch)[:, :, None]


def matched_tokens(batch, *, count_padding=False):
    """All tokens, [B, S]; with `count_padding` all positions of every row with a real token."""
    return rows(batch)[:, None] | tokens(batch) if count_padding else tokens(batch)


def matched_pairs(batch, *, causal, count_padding=False):
    """`pairs_of_tokens`; with `count_padding` all pairs of positions of every row with a real token, [B, S, S]."""
    if not count_padding:
        return pairs_of_tokens(batch, causal=causal)
    length = batch["mask"].shape[1]
    return jnp.broadcast_to(rows(batch)[:, None, None], (len(batch["mask"]), length, length))


# ---- The objectives


def _classify(logits, targets, weights):
    weights = weights.astype(jnp.float32)
    correct = (logits.argmax(-1) == targets) * weights
    return Term(
        (cross_entropy(logits, targets) * weights).sum(),
        weights.sum(),
        {
            "accuracy": (correct.sum(), weights.sum()),
            "chance": (label_counts(targets, weights, logits.shape[-1]), weights.sum()),
        },
    )


def _predict(out, name, batch, logit_pieces, scale=None):
    """Cross-entropy over the vocabulary, as `_classify`; if the logits are large, without holding all of them.

    Args:
      out: has NAME_logits [B, P, V]; from a language head also NAME_decoding.
      logit_pieces: see `decoding.pieces_of`.
      scale: float32 [B, P], what each position's loss counts in the sum; None: its weight.
    """
    targets, weights = batch["targets"], predicted(batch).astype(jnp.float32)
    rows = targets, weights, weights if scale is None else scale

    def sums(logits, rows, shared):
        del shared
        targets, weights, scale = rows
        correct = (logits.argmax(-1) == targets) * weights
        return (cross_entropy(logits, targets) * scale).sum(), correct.sum()

    if f"{name}_decoding" in out:
        made = out[f"{name}_decoding"]
        size, (total, correct) = len(made.table), decoding.summed(sums, made, rows, pieces=logit_pieces)
    else:
        logits = out[f"{name}_logits"]
        size, (total, correct) = logits.shape[-1], sums(logits, rows, ())
    chance = label_counts(targets, weights, size)
    return Term(total, weights.sum(), {"accuracy": (correct, weights.sum()), "chance": (chance, weights.sum())})


def mlm(out, batch, *, logit_pieces=1):
    """Masked language modelling (BERT, section 3.1): cross-entropy at the chosen positions.

    Reads `out['mlm_logits']` [B, P, V] or `['mlm_decoding']`, `batch['targets']` and `batch['weights']` [B, P].
    """
    return _predict(out, "mlm", batch, logit_pieces)


def clm(out, batch, *, language_mean="tokens", logit_pieces=1):
    """Causal language modelling (GPT-1, section 3.1): cross-entropy of each next token.

    With a `language_mean` of 'sequences' each sequence counts once, with the mean over its own tokens (lm_losses of
    train.py in openai/finetune-transformer-lm). Reads `out['clm_logits']` [B, S, V] or `['clm_decoding']`,
    `batch['targets']` and `batch['weights']` [B, S].
    """
    if language_mean == "tokens":
        return _predict(out, "clm", batch, logit_pieces)
    weights = predicted(batch).astype(jnp.float32)
    scale = weights / jnp.maximum(weights.sum(-1, keepdims=True), 1.0)
    counted = predicted_of(batch, language_mean=language_mean).astype(jnp.float32)
    return _predict(out, "clm", batch, logit_pieces, scale)._replace(weight=counted.sum())


def pair(out, batch):
    """Sentence-pair classification: cross-entropy over two classes.

    BERT's NSP: 0 is next, 1 random. ALBERT's SOP: 0 is in order, 1 swapped. Reads
    `out['pair_logits']` [B, 2], `batch['pair']` [B]. Rows of padding do not count.
    """
    return _classify(out["pair_logits"], batch["pair"], rows(batch))


def classify(out, batch):
    """Task classification: cross-entropy (BERT, section 4.1; run_classifier.py).

    Reads `out['class_logits']` [B, C], `batch['label']` [B]; `batch['mask']` [B, S], or [2 B, S] for pairs in both
    orders. Padding examples do not count, nor do unlabelled ones (-1).
    """
    return _classify(out["class_logits"], batch["label"], labelled(batch))


def regress(out, batch, *, scale=1.0):
    """Regression: squared error (STS-B; `transformers` with one label).

    The model predicts the score divided by `scale`: 5 in ELECTRA's release (classification_tasks.py). Reads
    `out['class_logits']` [B, 1], `batch['label']` [B] float32 and `batch['mask']` as `classify` does. Padding examples
    do not count, nor do those without a score (NaN).
    """
    score = batch["label"].astype(jnp.float32) / scale
    counts = scored(batch)
    # NaN times a weight of 0 would still be NaN.
    error = jnp.square(out["class_logits"][:, 0] - jnp.where(counts, score, 0.0))
    weights = counts.astype(jnp.float32)
    return Term((error * weights).sum(), weights.sum(), {})


def choose(out, batch):
    """Multiple choice: cross-entropy over the choices' logits (GPT-1, section 3.3; BERT, section 4.4).

    Reads `out['choice_logit']` [B * C], an example's choices consecutive; `batch['label']` [B]; `batch['mask']`
    [B * C, S]. Padding examples do not count, nor do unlabelled ones (-1).
    """
    label = batch["label"]
    return _classify(out["choice_logit"].reshape(len(label), -1), label, labelled(batch))


def span(out, batch):
    """Where the answer begins and ends: the mean of two cross-entropies over positions (BERT, section 4.2).

    Reads `out['span_logits']` [B, S, 2], `batch['span']` [B, 2]. Positions outside the row do not count, nor do rows
    without a real token. `accuracy` is how often both are right, within their window; `chance` how often the target is
    [CLS] for both, meaning no answer in this window.
    """
    logits, positions = out["span_logits"].swapaxes(1, 2), batch["span"]
    length = logits.shape[-1]
    inside = ends_inside(batch)
    term = _classify(logits, jnp.clip(positions, 0, length - 1), inside)
    whole = inside.all(-1).astype(jnp.float32)
    right = {"accuracy": logits.argmax(-1) == positions, "chance": positions == 0}
    return term._replace(metrics={name: ((hit.all(-1) * whole).sum(), whole.sum()) for name, hit in right.items()})


def joint_span(out, batch):
    """As `span`, but for a start and an end given the true start (ELECTRA, section 3.1; qa_tasks.py).

    Reads `out['joint_span_logits']` [B, S, 2] and the same batch keys as `span`, with the same metrics.
    """
    return span({"span_logits": out["joint_span_logits"]}, batch)


def answerable(out, batch):
    """Whether the question has an answer: sigmoid cross-entropy (ELECTRA, section 3.1; qa_tasks.py).

    Reads `out['impossible_logit']` and `batch['impossible']` [B], which is per question, not per window;
    `batch['mask']` [B, S]. Rows without a real token do not count.
    """
    logit, impossible = out["impossible_logit"], batch["impossible"].astype(jnp.float32)
    weights = rows(batch).astype(jnp.float32)
    right = ((logit > 0) == (impossible > 0)) * weights
    return Term(
        ((jax.nn.softplus(logit) - impossible * logit) * weights).sum(),
        weights.sum(),
        {
            "accuracy": (right.sum(), weights.sum()),
            "chance": (label_counts(batch["impossible"].astype(jnp.int32), weights, 2), weights.sum()),
        },
    )


def classify_tokens(out, batch):
    """Each word's class, read from its first token: cross-entropy (BERT, section 5.3).

    Reads `out['token_class_logits']` [B, S, C], `batch['token_label']` [B, S], -1 for no label;
    `batch['mask']` [B, S].
    """
    labels = batch["token_label"]
    return _classify(out["token_class_logits"], labels, labelled_tokens(batch))


def _detect(out, weights):
    """Binary cross-entropy of `out['replaced_logit']` against `out['replaced']`, both [B, S]."""
    logit, weights = out["replaced_logit"], weights.astype(jnp.float32)
    replaced = out["replaced"].astype(jnp.float32)
    right = ((logit > 0) == out["replaced"]) * weights
    positive, flagged = replaced * weights, (logit > 0) * weights
    bins = jnp.clip((jax.nn.sigmoid(logit) * AUC_BINS).astype(jnp.int32), 0, AUC_BINS - 1)
    in_bin = jax.nn.one_hot(bins, AUC_BINS)
    histograms = tuple(jnp.einsum("bsn,bs->n", in_bin, w) for w in (positive, weights - positive))
    return Term(
        ((jax.nn.softplus(logit) - replaced * logit) * weights).sum(),
        weights.sum(),
        {
            "accuracy": (right.sum(), weights.sum()),
            "chance": (jnp.stack([weights.sum() - positive.sum(), positive.sum()]), weights.sum()),
            "replaced": (positive.sum(), weights.sum()),
            "precision": ((flagged * replaced).sum(), flagged.sum()),
            "recall": ((flagged * replaced).sum(), positive.sum()),
            "auc": histograms,
        },
    )


def rtd(out, batch):
    """Replaced-token detection over all tokens except padding (ELECTRA, section 2).

    Reads `out['replaced_logit']` and `out['replaced']` [B, S], `batch['mask']` [B, S].
    """
    return _detect(out, tokens(batch))


def rtd_masked(out, batch):
    """As `rtd`, but only at the chosen positions: ELECTRA 15 % (section 3.5)."""
    return _detect(out, chosen(batch))


def replaced_mlm(out, batch, *, logit_pieces=1):
    """Replace MLM (ELECTRA, section 3.5): predicts the original tokens from a text with the generator's samples.

    Reads `out['restored_logits']` [B, P, V] or `['restored_decoding']`, `batch['targets']` and `batch['weights']` [B, P].
    """
    return _predict(out, "restored", batch, logit_pieces)


def all_tokens(out, batch):
    """All-Tokens MLM (ELECTRA, section 3.5): every original token except padding, with a copy gate.

    p = D onehot(shown token) + (1 - D) softmax(logits), D the sigmoid of the gate. Reads
    `out['copied_logits']` [B, S, V], `out['copy_logit']` [B, S], `batch['original']` and `['mask']` [B, S], and
    the shown tokens: `out['tokens']` if a generator replaced some, `batch['tokens']` otherwise. `chance` is the
    accuracy of copying each shown token.
    """
    original, weights = batch["original"], tokens(batch).astype(jnp.float32)
    shown = out.get("tokens", batch["tokens"])
    gate, logits = out["copy_logit"], out["copied_logits"]
    predicted = jax.nn.log_sigmoid(-gate) - cross_entropy(logits, original)
    log_p = jnp.where(shown == original, jnp.logaddexp(jax.nn.log_sigmoid(gate), predicted), predicted)
    # The most likely token: the shown one if its own probability plus the gate's beats the best of the others.
    best = logits.argmax(-1)
    log_best = jax.nn.log_sigmoid(-gate) - cross_entropy(logits, best)
    log_shown = jnp.logaddexp(jax.nn.log_sigmoid(gate), jax.nn.log_sigmoid(-gate) - cross_entropy(logits, shown))
    guesses = {"accuracy": jnp.where(log_shown >= log_best, shown, best), "chance": shown}
    counted = {"": weights, "chosen_": weights * chosen(batch)}
    metrics = {
        where + name: (((guess == original) * counts).sum(), counts.sum())
        for where, counts in counted.items()
        for name, guess in guesses.items()
    }
    return Term(-(log_p * weights).sum(), weights.sum(), metrics)


def adversarial(out, batch):
    """Adversarial training of the generator by REINFORCE (ELECTRA, appendix F): the loss to minimise.

    A sample's reward R is the discriminator's loss at its position. The generator's gradient is that of
    -(R - b) log p(sample), where b = -log sigmoid(baseline) is learned by sigmoid cross-entropy
    against exp(-R), the probability that the discriminator gave to the truth. No gradient reaches the
    discriminator. Reads `out['mlm_logits']` [B, P, V], `['baseline_logit']` [B, P], `['tokens']`,
    `['replaced_logit']` and `['replaced']` [B, S]; `batch['positions']`, `['weights']`, `['targets']` [B, P].
    """
    weights = predicted(batch).astype(jnp.float32)
    sign = jnp.where(out["replaced"], -1.0, 1.0)
    at_sample = jnp.take_along_axis(out["replaced_logit"] * sign, batch["positions"], axis=1)
    reward = jax.lax.stop_gradient(jax.nn.softplus(at_sample))
    baseline = out["baseline_logit"]
    advantage = reward - jax.lax.stop_gradient(jax.nn.softplus(-baseline))
    # Score the token that the discriminator saw: at a position drawn twice, one of the two samples.
    judged = jnp.take_along_axis(out["tokens"], batch["positions"], axis=1)
    policy = advantage * cross_entropy(out["mlm_logits"], judged)
    believed = jnp.exp(-reward)
    value = believed * jax.nn.softplus(-baseline) + (1 - believed) * jax.nn.softplus(baseline)
    right = (out["mlm_logits"].argmax(-1) == batch["targets"]) * weights
    return Term(
        ((policy + value) * weights).sum(),
        weights.sum(),
        {
            "reward": ((reward * weights).sum(), weights.sum()),
            "accuracy": (right.sum(), weights.sum()),
            "chance": (label_counts(batch["targets"], weights, out["mlm_logits"].shape[-1]), weights.sum()),
        },
    )


def _soften(ours, theirs, weights, temperature):
    """T^2 KL(teacher || student) at a temperature T, and how often both have the same argmax.

    Args:
      ours: logits [..., V].
      theirs: the teacher's: `logits` [..., V]; or [..., K], with their token `ids` [..., K] and `rest` [...], the
        log of the sum of exp(logit / T) over all other tokens, which both sides treat as a single outcome.
      weights: [...].
    """
    ours, logits = (x.astype(jnp.float32) / temperature for x in (ours, theirs["logits"]))
    best, log_sum = ours.max(-1), jax.nn.logsumexp(ours, axis=-1)
    their_log_sum = jax.nn.logsumexp(logits, axis=-1)
    extra = 0.0
    if "ids" in theirs:
        ours = jnp.take_along_axis(ours, theirs["ids"], axis=-1)
        their_log_sum = jnp.logaddexp(their_log_sum, theirs["rest"])
        log_rest = theirs["rest"] - their_log_sum
        # The probability left for the others; float32 cannot resolve less than 6e-8 next to 1.
        left = jnp.maximum(1 - jnp.exp(ours - log_sum[..., None]).sum(-1), 6e-8)
        extra = jnp.exp(log_rest) * (log_rest - jnp.log(left))
    p = jnp.exp(logits - their_log_sum[..., None])
    log_ratio = logits - ours + (log_sum - their_log_sum)[..., None]
    divergence = (p * log_ratio).sum(-1) + extra
    # Comparing with the maximum is several times faster on CPU than two argmaxes.
    agree = ((logits == logits.max(-1, keepdims=True)) & (ours == best[..., None])).any(-1)
    weights = weights.astype(jnp.float32)
    return Term(
        temperature**2 * (divergence * weights).sum(),
        weights.sum(),
        {"agreement": ((agree * weights).sum(), weights.sum())},
    )


def soft_targets(out, batch, *, temperature, logit_pieces=1):
    """The teacher's distribution over the vocabulary at every token except padding (DistilBERT, section 2, L_ce).

    As released (distiller.py): KL(teacher || student) at a temperature T, times T^2, which preserves the gradients'
    scale (Hinton et al. 2015, section 2). Reads `token_logits` [B, S, V], or `token_decoding`, of `out` and of
    `out['teacher']`, and `batch['mask']`. A cached teacher may have only its K largest logits, [B, S, K], with
    `['token_ids']` [B, S, K] and `['token_rest']` [B, S], see `_soften`.
    """
    if "token_decoding" in out["teacher"]:
        x, *tables = out["teacher"]["token_decoding"]
        theirs = {"x": x}
    else:
        names, tables = {"token_logits": "logits", "token_ids": "ids", "token_rest": "rest"}, ()
        theirs = {names[name]: x for name, x in out["teacher"].items() if name in names}

    def sums(logits, rows, shared):
        (theirs, weights), (temperature, tables) = rows, shared
        if "x" in theirs:
            theirs = {"logits": decoding.Decoding(theirs["x"], *tables).logits()}
        term = _soften(logits, theirs, weights, temperature)
        return term.sum, (term.weight, term.metrics)

    rows, shared = (theirs, tokens(batch)), (temperature, tables)
    if "token_decoding" in out:
        total, more = decoding.summed(sums, out["token_decoding"], rows, shared, logit_pieces)
    else:
        total, more = sums(out["token_logits"], rows, shared)
    return Term(total, *more)


def soft_predictions(out, batch, *, temperature):
    """As `soft_targets`, but only at the predicted tokens: the released DistilBERT code's --restrict_ce_to_mask.

    Reads `out['mlm_logits']` or `out['clm_logits']` [B, P, V], `out['teacher']['predicted_logits']` and
    `batch['weights']` [B, P].
    """
    ours = out["mlm_logits"] if "mlm_logits" in out else out["clm_logits"]
    return _soften(ours, {"logits": out["teacher"]["predicted_logits"]}, predicted(batch), temperature)


def cosine(out, batch):
    """1 - cos(student, teacher) of last hidden states at every token except padding (DistilBERT, section 3, L_cos).

    Reads `out['encoded']` and `out['teacher']['encoded']`, both [B, S, H].
    """
    ours, theirs = (x["encoded"].astype(jnp.float32) for x in (out, out["teacher"]))
    weights = tokens(batch).astype(jnp.float32)
    # torch's CosineEmbeddingLoss adds 1e-12 to each squared norm, inside the square root.
    norms = [jnp.sqrt((x * x).sum(-1) + 1e-12) for x in (ours, theirs)]
    similarity = (ours * theirs).sum(-1) / (norms[0] * norms[1])
    return Term(((1 - similarity) * weights).sum(), weights.sum(), {})


def _squared_error(ours, theirs, weights):
    """Mean squared error per token, summed over layers: two [N, B, S, T] to a Term."""
    error = jnp.square(ours.astype(jnp.float32) - theirs.astype(jnp.float32)).mean(-1).sum(0)
    weights = weights.astype(jnp.float32)
    return Term((error * weights).sum(), weights.sum(), {})


def embedding(out, batch, *, count_padding=False):
    """Squared error of the projected embeddings (TinyBERT, equation 9).

    Reads the first of `out['fitted']` and `out['teacher']['states']`, both [M + 1, B, S, T]. Padding does not
    count, here and in `hidden`, unless `count_padding`, as in the released code.
    """
    return _squared_error(
        out["fitted"][:1], out["teacher"]["states"][:1], matched_tokens(batch, count_padding=count_padding)
    )


def hidden(out, batch, *, count_padding=False):
    """Squared errors of the projected layer states, summed over layers (TinyBERT, equations 8 and 11).

    Reads all but the first of `out['fitted']` and `out['teacher']['states']`, both [M + 1, B, S, T].
    """
    return _squared_error(
        out["fitted"][1:], out["teacher"]["states"][1:], matched_tokens(batch, count_padding=count_padding)
    )


def patience(out, batch):
    """Squared error between the directions of [CLS] in every layer but the last (PKD, section 3.2).

    Sun et al. 2019, arXiv 1908.09355: states are divided by their norm; the last layer is left to the soft labels. The
    mean is over layers and width: "the mean-square loss" of the text and F.mse_loss in KD_loss.py
    (intersun/PKD-for-BERT-Model-Compression, 9e9e8609), to which the published weights belong; the paper's equation has
    a sum. Reads `out['fitted']` and `out['teacher']['states']`, both [M + 1, B, S, T], and `batch['mask']` [B, S]. Rows
    without a real token do not count.
    """
    ours, theirs = (x[1:-1, :, 0].astype(jnp.float32) for x in (out["fitted"], out["teacher"]["states"]))
    # As torch's F.normalize; the bound is inside the root, whose gradient at 0 is infinite.
    ours, theirs = (x / jnp.sqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-24)) for x in (ours, theirs))
    error = jnp.square(ours - theirs).mean((0, -1))
    weights = rows(batch).astype(jnp.float32)
    return Term((error * weights).sum(), weights.sum(), {})


def attention(out, batch, *, causal, count_padding=False):
    """Squared errors of pre-softmax attention scores, summed over layers (TinyBERT, equations 7 and 11).

    The mean is over heads and over pairs of tokens that see each other. With `count_padding`, as in the released code
    (general_distill.py), it is over all pairs: a score that nobody sees is 0 on both sides, padding's own scores of
    real tokens are compared, and shorter texts weigh less; without padding the two agree. Reads
    `out['layers']['scores']` and `out['teacher']['scores']`, both [M, B, A, S, S].
    """
    counted = matched_pairs(batch, causal=causal, count_padding=count_padding)
    compared = (counted & visible(batch, causal)[0, :, 0]).astype(jnp.float32)
    ours, theirs = (x.astype(jnp.float32) for x in (out["layers"]["scores"], out["teacher"]["scores"]))
    error = jnp.square(ours - theirs).mean(2).sum(0)
    return Term((error * compared).sum(), counted.sum().astype(jnp.float32), {})


def soft_labels(out, batch, *, temperature, mean_over_classes=False):
    """The teacher's distribution over a task's classes (TinyBERT, equation 10): soft cross-entropy.

    With `mean_over_classes` it is divided by the number of classes, as in the released code (task_distill.py), whose
    mean is over all logits. Reads `out['class_logits']` and `out['teacher']['class_logits']` [B, C]; `batch['label']`
    [B] only for the accuracy. Examples without a real token do not count.
    """
    ours, theirs = (x["class_logits"].astype(jnp.float32) / temperature for x in (out, out["teacher"]))
    weights = examples(batch).astype(jnp.float32)
    entropy = -(jax.nn.softmax(theirs) * jax.nn.log_softmax(ours)).sum(-1)
    entropy /= ours.shape[-1] if mean_over_classes else 1
    guess = ours.argmax(-1)
    right = {"agreement": guess == theirs.argmax(-1), "accuracy": guess == batch["label"]}
    metrics = {name: ((hit * weights).sum(), weights.sum()) for name, hit in right.items()}
    known = weights * (batch["label"] >= 0)
    metrics["chance"] = (label_counts(batch["label"].astype(jnp.int32), known, ours.shape[-1]), weights.sum())
    return Term((entropy * weights).sum(), weights.sum(), metrics)


def soft_span(out, batch, *, temperature):
    """The teacher's distributions over an answer's start and end: the mean of two KL(teacher || student) at a
    temperature T, times T^2 (DistilBERT, section 3, "DistilBERT (D)" in Table 2; run_squad_w_distillation.py).

    Over real positions only; the original includes padding. Reads `out['span_logits']` and
    `out['teacher']['span_logits']` [B, S, 2], `batch['mask']` [B, S]. Rows without a real token do not count.
    """
    real = (batch["mask"] != 0)[:, None]
    ours, theirs = (jnp.where(real, x["span_logits"].swapaxes(1, 2), -1e9) for x in (out, out["teacher"]))
    return _soften(ours, {"logits": theirs}, both_ends(batch), temperature)


def answered(batch):
    """The words of answers, and their ends: `batch['answer_mask']` [B, A + 1] without the start."""
    return batch["answer_mask"][:, 1:] != 0


def answer(out, batch):
    """-log p of each word of an answer and of its end, generated or copied (decaNLP; models/mqan.py).

    Reads `out['answer_log_probs']` [B, A] and `batch['answer_mask']` [B, A + 1].
    """
    weights = answered(batch).astype(jnp.float32)
    return Term(-(out["answer_log_probs"] * weights).sum(), weights.sum(), {})


# ---- The rows


class Objective(NamedTuple):
    """The full description of one of `config.losses`.

    Attributes:
      doc: what it trains, in one line.
      loss: `loss(out, batch, **options) -> Term`.
      counts: returns what is summed to give its weight, from the batch only: normalising a loss over the global batch
        needs no forward pass.
      heads: the heads that it reads (models/heads.py); 'language' is the trunk's own, 'clm' if causal, else 'mlm'.
      masks: whether it predicts tokens that corruption hides.
      replaced: whether it reads the tokens that a generator put in their place.
      pairs: the kind of sentence pairs that it needs (data/pairs.py).
      task: the kind of task whose labels it reads (tasks.KINDS); '' in pre-training.
      answers: the key of `out` with the task's answers, if it trains them.
      teacher: the key of `out['teacher']` that it reads.
      options: config keys that `loss` or `counts` take as keyword arguments.
    """

    doc: str
    loss: Callable
    counts: Callable
    heads: tuple = ()
    masks: bool = False
    replaced: bool = False
    pairs: str = ""
    task: str = ""
    answers: str = ""
    teacher: str = ""
    options: tuple = ()

    def bind(self, config):
        """Returns `loss(out, batch)` and `weight(batch)` with the options from a run's config."""
        options = {}
        for key in self.options:
            block, name = key.split(".")
            options[name] = config[block][name]
        of_loss, of_counts = _named(self.loss, options), _named(self.counts, options)
        return (
            lambda out, batch: self.loss(out, batch, **of_loss),
            lambda batch: self.counts(batch, **of_counts).sum().astype(jnp.float32),
        )


def _named(function, options):
    """The subset of options that a function accepts."""
    return {name: value for name, value in options.items() if name in inspect.signature(function).parameters}


PIECES = ("run.logit_pieces",)
SOFT, MATCHED = ("teacher.temperature",), ("teacher.count_padding",)
OBJECTIVES = {
    # Tokens
    "mlm": Objective("masked tokens (BERT)", mlm, predicted, heads=("mlm",), masks=True, options=PIECES),
    "clm": Objective(
        "the next token (GPT)", clm, predicted_of, heads=("clm",), options=("task.language_mean", *PIECES)
    ),
    "all_tokens": Objective(
        "every token, from a text with some replaced (All-Tokens MLM)",
        all_tokens,
        tokens,
        heads=("copied",),
        masks=True,
    ),
    # Sentence pairs
    "nsp": Objective("whether a second segment follows the first (BERT)", pair, rows, heads=("pair",), pairs="nsp"),
    "sop": Objective("the order of two segments (ALBERT)", pair, rows, heads=("pair",), pairs="sop"),
    # A generator's replacements
    "rtd": Objective(
        "which tokens were replaced (ELECTRA)", rtd, tokens, heads=("replaced",), masks=True, replaced=True
    ),
    "rtd_masked": Objective(
        "which tokens were replaced, at the chosen ones alone (ELECTRA 15 %)",
        rtd_masked,
        chosen,
        heads=("replaced",),
        masks=True,
        replaced=True,
    ),
    "replaced_mlm": Objective(
        "chosen tokens, others shown in their places (Replace MLM)",
        replaced_mlm,
        predicted,
        heads=("restored",),
        masks=True,
        replaced=True,
        options=PIECES,
    ),
    "adversarial": Objective(
        "the generator against the discriminator (ELECTRA, appendix F)",
        adversarial,
        predicted,
        heads=("mlm", "replaced", "baseline"),
        masks=True,
        replaced=True,
    ),
    # Tasks
    "classify": Objective(
        "a task's class", classify, labelled, heads=("classes",), task="classification", answers="class_logits"
    ),
    "regress": Objective(
        "a task's score",
        regress,
        scored,
        heads=("classes",),
        task="regression",
        answers="class_logits",
        options=("task.scale",),
    ),
    "choose": Objective(
        "which of a task's choices", choose, labelled, heads=("choice",), task="choices", answers="choice_logit"
    ),
    "span": Objective(
        "where an answer begins and ends", span, ends_inside, heads=("span",), task="spans", answers="span_logits"
    ),
    "joint_span": Objective(
        "where an answer begins, and where it ends given that (ELECTRA)",
        joint_span,
        ends_inside,
        heads=("joint_span",),
        task="spans",
        answers="span_candidates",
    ),
    "answerable": Objective(
        "whether there is an answer (ELECTRA)", answerable, rows, heads=("joint_span",), task="spans"
    ),
    "classify_tokens": Objective(
        "each word's label",
        classify_tokens,
        labelled_tokens,
        heads=("token_classes",),
        task="token_labels",
        answers="token_class_logits",
    ),
    # Questions
    "answer": Objective(
        "the words of an answer, generated or copied from context and question (MQAN)", answer, answered
    ),
    # Distillation
    "soft_targets": Objective(
        "a teacher's distribution over tokens, at every token (DistilBERT)",
        soft_targets,
        tokens,
        heads=("language", "tokens"),
        teacher="token_logits",
        options=(*SOFT, *PIECES),
    ),
    "soft_predictions": Objective(
        "a teacher's distribution over tokens, at the predicted ones alone",
        soft_predictions,
        predicted,
        heads=("language",),
        teacher="predicted_logits",
        options=SOFT,
    ),
    "cosine": Objective("the direction of a teacher's last states (DistilBERT)", cosine, tokens, teacher="encoded"),
    "embedding": Objective(
        "a teacher's embeddings (TinyBERT)",
        embedding,
        matched_tokens,
        heads=("fit",),
        teacher="states",
        options=MATCHED,
    ),
    "hidden": Objective(
        "a teacher's layers (TinyBERT)", hidden, matched_tokens, heads=("fit",), teacher="states", options=MATCHED
    ),
    "patience": Objective(
        "the direction of a teacher's [CLS], layer by layer (PKD)", patience, rows, heads=("fit",), teacher="states"
    ),
    "attention": Objective(
        "a teacher's attention (TinyBERT)",
        attention,
        matched_pairs,
        teacher="scores",
        options=("model.causal", *MATCHED),
    ),
    "soft_labels": Objective(
        "a teacher's classes (TinyBERT)",
        soft_labels,
        examples,
        heads=("classes",),
        task="classification",
        answers="class_logits",
        teacher="class_logits",
        options=(*SOFT, "teacher.mean_over_classes"),
    ),
    "soft_span": Objective(
        "a teacher's distributions over where an answer begins and ends",
        soft_span,
        both_ends,
        heads=("span",),
        task="spans",
        answers="span_logits",
        teacher="span_logits",
        options=SOFT,
    ),
}


Losses = dataclasses.make_dataclass(
    "Losses",
    [(name, float, option(0.0, number(0), row.doc)) for name, row in OBJECTIVES.items()],
    frozen=True,
    namespace=dict(BLOCK="losses", __doc__="The weight of each objective."),
)


def trained(config):
    """The rows of the objectives with a nonzero weight, by name.

    Raises:
      UserError: `config.losses` has a name without a row.
    """
    for name in config.losses:
        check_choice(name, OBJECTIVES, "objective in losses")
    return {name: OBJECTIVES[name] for name, weight in config.losses.items() if weight}


def loss_of(kind):
    """The loss that trains a kind of task unless a recipe names another: the first row of that kind."""
    return next(name for name, row in OBJECTIVES.items() if row.task == kind)


def taught(config):
    """The names of the teacher's outputs that the losses read, sorted."""
    return sorted({row.teacher for row in trained(config).values() if row.teacher})


def task_logits(config):
    """The key of `out` with the answers to a config's task; None if no loss trains any."""
    return next((row.answers for row in trained(config).values() if row.answers), None)
