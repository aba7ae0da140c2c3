"""Queries a finished run (runs.py): masked tokens, replaced tokens, sentence similarity, attention."""

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ssl_jax import experiment
from ssl_jax.data import tokens as stored
from ssl_jax.data.rows import gather
from ssl_jax.errors import UserError, shown
from ssl_jax.evaluators import Mean, Programs, mean
from ssl_jax.inference import generate
from ssl_jax.inference.scoring import require_head
from ssl_jax.models.visibility import visible
from ssl_jax.step import make_corrupt, make_measure
from ssl_jax.tasks.features import encode
from ssl_jax.tokenization.vocabulary import identity


def require_frame(run):
    """Raises UserError unless a run's tokenizer has the tokens around a text, [CLS] and [SEP]."""
    if run.vocabulary.start is None or run.vocabulary.separator is None:
        raise UserError(
            f"the tokenizer of {run.workdir} has no start and separator tokens, which a task's examples have"
        )


def require_positions(run, length):
    """Raises UserError unless `length`, a text's number of tokens, is above 0 and at most the model's positions."""
    if not 0 < length <= run.model.config.max_positions:
        raise UserError(f"the text has {length} tokens, and the model {run.model.config.max_positions} positions")


def trunk(run):
    """A run's model without its heads and generator: a class head may only accept rows in pairs."""
    return run.model.clone(heads=(), generator=None)


@functools.partial(jax.jit, static_argnames="model")
def _outputs(model, params, batch):
    """A model's outputs for a batch; compiled once per shape rather than once per text."""
    return model.apply({"params": params}, batch)


@functools.partial(jax.jit, static_argnames="model")
def _mean_vectors(model, params, batch):
    """The mean of the last layer over each row's tokens, normalized to length 1; [B, H]."""
    encoded = model.apply({"params": params}, batch)["encoded"]
    total = (encoded * batch["mask"][..., None]).sum(axis=1)
    return total / jnp.linalg.norm(total, axis=1, keepdims=True)


@functools.partial(jax.jit, static_argnames="model")
def _on_the_way(model, params, batch):
    """`Inspection`'s hidden, attention and out for a batch of one text."""
    out, config = model.apply({"params": params}, batch), model.config
    layers = out["layers"]
    kinds = visible(batch, config.causal, config.local_window)[:, 0]
    allowed = kinds[jnp.arange(config.layers) % len(kinds)]
    weights = jax.nn.softmax(jnp.where(allowed, layers["scores"][:, 0], -jnp.inf))
    hidden = jnp.concatenate([out["embedded"][None], layers["hidden"][:-1], out["encoded"][None]])[:, 0]
    heads = {name: x[0] for name, x in out.items() if name == "pooled" or name.endswith(("_logits", "_logit"))}
    return hidden, weights, heads


def fill_masks(run, sentence, best=5):
    """The most likely tokens for every mask token (BERT's is spelled [MASK]) in `sentence`.

    Returns:
      For each blank, in reading order, a list of (token, probability), most likely first.

    Raises:
      UserError: there is no blank; see `fill_blanks`.
    """
    require_head(run, "mlm", "a masked language model (losses.mlm)")
    vocabulary = run.vocabulary
    if vocabulary.mask is None:
        raise UserError(f"the tokenizer of {run.workdir} has no mask token: there is nothing to fill")
    blank = run.tokenizer.id_to_token(vocabulary.mask)
    # A tokenizer treats special tokens in a text as plain text, so the blanks are inserted here.
    before, *after = (tokens_of_part(run.tokenizer, part) for part in sentence.split(blank))
    if not after:
        raise UserError(f"no {blank} to fill in {shown(sentence)}")
    return fill_blanks(run, [*before, *(token for part in after for token in (vocabulary.mask, *part))], best)


def tokens_of_part(tokenizer, part):
    """Token ids of part of a text, as in the whole text."""
    ids = tokenizer.encode(part.rstrip(), add_special_tokens=False).ids  # a space belongs to the word after it
    # Unigram tokenizers prepend a space to any input, which would be wrong before a period, say.
    spaced = ids and tokenizer.id_to_token(ids[0]) == "\u2581" and not part[0].isspace()
    return ids[1:] if spaced else ids


def one_example(vocabulary, ids):
    """A batch of one row, [CLS] ids [SEP], as one segment."""
    tokens = np.array([[vocabulary.start, *ids, vocabulary.extract]])
    return dict(tokens=tokens, mask=np.ones_like(tokens), segments=np.zeros_like(tokens))


def fill_blanks(run, ids, best=5):
    """Like `fill_masks`, for a list of token ids without [CLS] and [SEP].

    Raises:
      UserError: the run has no masked language model; the text is too long for it; `best` is below 1.
    """
    require_head(run, "mlm", "a masked language model (losses.mlm)")
    require_frame(run)
    require_positions(run, len(ids) + 2)
    if best < 1:
        raise UserError(f"best={best}: at least 1")
    vocabulary = run.vocabulary
    batch = one_example(vocabulary, ids)
    tokens = batch["tokens"]
    logits = _outputs(run.model, run.params, batch)["mlm_logits"][0]
    blanks = []
    for position in np.flatnonzero(tokens[0] == vocabulary.mask):
        probabilities = np.asarray(jax.nn.softmax(logits[position]))
        order = np.argsort(-probabilities)[:best]
        blanks.append([(run.tokenizer.id_to_token(int(i)), float(probabilities[i])) for i in order])
    return blanks


def sentence_embeddings(run, texts, batch_size=32):
    """One vector per text, similar for similar texts: the mean of the last layer over its tokens, of length 1.

    [CLS] and [SEP] count, padding does not (Reimers and Gurevych 2019, arXiv 1908.10084, section 3: MEAN).

    Args:
      texts: a list of str; texts longer than the model's positions are truncated.
      batch_size: texts per batch.

    Returns:
      [N, H] float32, a NumPy array.

    Raises:
      UserError: `texts` is a single text, `batch_size` is below 1, or the tokenizer lacks start and separator tokens.
    """
    if isinstance(texts, str) or batch_size < 1:
        raise UserError(f"texts={shown(texts)}, batch_size={batch_size}: a list of texts, and at least 1")
    require_frame(run)
    model = trunk(run)
    most = run.model.config.max_positions - 2
    rows = [run.tokenizer.encode(text, add_special_tokens=False).ids[:most] for text in texts]
    rows = [[run.vocabulary.start, *ids, run.vocabulary.extract] for ids in rows]
    length = max(map(len, rows), default=2)
    length = min(-(-length // 32) * 32, most + 2)  # few distinct lengths, so little is compiled
    tokens = np.full((-(-len(rows) // batch_size) * batch_size, length), run.vocabulary.filler)
    mask = np.zeros_like(tokens)
    for number, ids in enumerate(rows):
        tokens[number, : len(ids)], mask[number, : len(ids)] = ids, 1

    parts = [slice(start, start + batch_size) for start in range(0, len(tokens), batch_size)]
    batches = [dict(tokens=tokens[part], mask=mask[part], segments=0 * tokens[part]) for part in parts]
    made = [np.asarray(_mean_vectors(model, run.params, batch), np.float32) for batch in batches]
    return np.concatenate(made)[: len(texts)] if made else np.zeros((0, run.model.config.hidden_size), np.float32)


class Inspection(NamedTuple):
    """What a model computes for one text of S tokens; NumPy arrays, float32."""

    tokens: list[str]  # S, special tokens included
    ids: np.ndarray  # int32 [S]
    hidden: np.ndarray  # [L + 1, S, H]: the embeddings, each layer's output; the last is what the heads read
    attention: np.ndarray  # [L, A, S, S]: row i is what token i attends to, and sums to 1
    out: dict[
        str, np.ndarray
    ]  # the heads' outputs by name, see `Model.__call__`: `mlm_logits` [S, V], `pooled` [H], ...


def inspect(run, text, text2=""):
    """Runs a text, or a pair, through a model and returns all intermediate values.

    The input is [CLS] text [SEP] text2 [SEP], as in a task's examples. A next-token language model that was not
    fine-tuned on a task reads only the text's tokens, with nothing before or after them.

    Raises:
      UserError: the text has no tokens or too many for the model, or is a pair and the model reads running text.
    """
    vocabulary, model = run.vocabulary, run.model
    if model.orders > 1:  # a head that reads a pair in both orders has no output for one text
        model = model.clone(heads=tuple(head for head in model.heads if head != "classes"))
    ids, edges = encode([text, text2], run.tokenizer)
    if "clm" in run.model.heads and run.config.data.examples != "task":
        if text2:
            raise UserError(f"{run.workdir} reads running text: there are no pairs of texts, put them into one")
        batch = dict(tokens=ids[None].astype(np.int32), segments=np.zeros((1, len(ids)), np.int32))
        batch["mask"] = np.ones((1, len(ids)), bool)
    else:
        require_frame(run)
        length = len(ids) + 2 + bool(text2)
        batch = gather(ids, np.array([[0, edges[1], edges[1], edges[2]]]), vocabulary, length)
    length = batch["tokens"].shape[1]
    require_positions(run, length)

    hidden, weights, heads = jax.tree.map(lambda x: np.asarray(x, np.float32), _on_the_way(model, run.params, batch))
    tokens = [run.tokenizer.id_to_token(int(i)) for i in batch["tokens"][0]]
    return Inspection(tokens, batch["tokens"][0], hidden, weights, heads)


def attention(run, text, text2=""):
    """What each head of each layer attends to in a text or a pair: `inspect`'s tokens and attention."""
    seen = inspect(run, text, text2)
    return seen.tokens, seen.attention


def continue_texts(run, prompts, **options):
    """A causal model's continuation of each of `prompts`, str; options as for `generate.stream`.

    Returns:
      A list of str, without the prompts.
    """
    ids = [run.tokenizer.encode(prompt, add_special_tokens=False).ids for prompt in prompts]
    written = generate.generate(run, ids, **options)
    pairs = zip(ids, written, strict=True)
    return ["".join(generate.text_pieces(run.tokenizer, start, tokens)) for start, tokens in pairs]


class MarkedToken(NamedTuple):
    """A token as the discriminator saw it."""

    shown: str
    original: str
    flagged: bool  # judged to be replaced


def mark_replaced(run, ids, number=0):
    """Has an ELECTRA's generator replace some tokens of a sentence and its discriminator judge all of them.

    Args:
      ids: token ids without [CLS] and [SEP].
      number: selects the masking and the samples.

    Returns:
      A `MarkedToken` for each token, truncated to the positions the run was trained with.

    Raises:
      UserError: the run has no discriminator.
    """
    if "replaced" not in run.model.heads or run.config.generator.kind == "none":
        raise UserError("the run has no discriminator with a generator: train it with losses.rtd")
    config, vocabulary = run.config, run.vocabulary
    counts = None
    if config.generator.kind == "unigram":  # its frequencies come from the training text
        counts = experiment.token_counts(config, Path(stored.prepare(config.data)), vocabulary)
    corrupt = make_corrupt(config, vocabulary, counts)
    ids = list(ids)[: config.phases.lengths[-1] - 2]
    batch = one_example(vocabulary, ids) | {"index": np.array([number])}
    tokens = batch["tokens"]
    out = _outputs(run.model, run.params, corrupt(batch))
    shown, flagged = np.asarray(out["tokens"][0]), np.asarray(out["replaced_logit"][0]) > 0
    words = run.tokenizer.id_to_token
    return [
        MarkedToken(words(int(new)), words(int(old)), bool(flag))
        for new, old, flag in list(zip(shown, tokens[0], flagged, strict=True))[1:-1]
    ]


def read_heldout(run, config):
    """Quality and speed of a run's masked LM on the held-out examples of another run's config.

    Returns:
      `metrics`, a dict with `mlm_loss` and `mlm_accuracy`, whatever losses the run was trained with; and
      `read()`, which predicts one batch's masked tokens and returns its number of tokens, padding included.

    Raises:
      UserError: the run's trunk has no masked LM, or the run another vocabulary or too few positions.
    """
    require_head(run, "mlm", "a masked language model (losses.mlm)")
    if run.model.generator is not None:
        raise UserError(f"the masked language model of {run.workdir} is a generator's: its trunk predicts no words")
    require_positions(run, config.phases.lengths[-1])
    config = ConfigDict(config)
    config.losses = {name: float(name == "mlm") for name in config.losses}
    config.update(
        dict(init=dict(run=""), generator=dict(kind="none"), teacher=dict(runs=(), cache=""), parallel=dict(devices=1))
    )
    exp, length = experiment.open(config), config.phases.lengths[-1]
    if identity(exp.tokenizer) != run.tokenizer_hash:
        raise UserError(f"{run.workdir} has another vocabulary than the examples in {exp.prepared}")
    exp = exp._replace(model=run.model.clone(heads=("mlm",), generator=None))
    evaluator = mean.Evaluator(exp, Programs(exp.devices.compile(make_measure(*exp.pure))), Mean())
    metrics, model = dict(evaluator.run(exp.devices.adopt(run.params), length)), exp.model

    batch = jax.jit(make_corrupt(config, exp.vocabulary, exp.counts))(evaluator.examples[length](0))
    forward = jax.jit(lambda params, batch: model.apply({"params": params}, batch)["mlm_logits"])

    def read():
        forward(run.params, batch).block_until_ready()
        return batch["tokens"].size

    return metrics, read
