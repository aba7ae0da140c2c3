"""Masking and prediction targets, computed inside the step in pure jnp.

Every random choice about an example is keyed by its global index, so it is independent of the device,
the micro-batch and any restart.
"""

import dataclasses

import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.lazy import jax, jnp, lax
from ssl_jax.options import BOOL, SHARE, WIDEST, check_bound, number, one_of, option, whole
from ssl_jax.varying import each, largest

UNITS = one_of("token", "word", "ngram")
WORDS = one_of("marked", "split")


@dataclasses.dataclass(frozen=True)
class Corruption:
    """What is hidden from the model, see `mask_tokens`."""

    BLOCK = "corruption"

    rate: float = option(0.15, SHARE, "share of the tokens that are predicted; 0: the model sees the text as it is")
    mask: float = option(0.8, SHARE, "share of the predicted tokens that are shown as [MASK]")
    random: float = option(0.1, SHARE, "share of the predicted tokens that are shown as a random token")
    max_predictions: int = option(0, whole(0), "of a sequence, at most; 0: no limit, or with_replacement ELECTRA's")
    unit: str = option("token", UNITS, "what is chosen: 'token', 'word' or 'ngram'")
    words: str = option(
        "marked",
        WORDS,
        "where they begin: 'marked' as the tokenizer does it; 'split' also at punctuation, digits, letters beyond a to z",
    )
    max_ngram: int = option(3, whole(1, WIDEST), "words of the longest n-gram")
    with_replacement: bool = option(False, BOOL, "a token may be drawn more than once (ELECTRA)")
    frequency_smoothing: float = option(
        0.0, number(0), "tokens are chosen in proportion to 1 / count ** frequency_smoothing"
    )


def limit(length, rate, max_predictions, with_replacement=False):
    """The most predictions of a sequence: `max_predictions`; where that is 0, none (the length).

    With replacement 0 is int((rate + .005) * length), which moves with the rate: 19 at .15 of 128, 79 at .15 of 512,
    130 at .25 of 512 (ELECTRA's configure_pretraining.py).
    """
    return max_predictions or (max(1, int((rate + 0.005) * length)) if with_replacement else length)


def prediction_counts(length, rate, max_predictions, with_replacement=False):
    """Number of predictions for each number of real tokens, specials included: [length + 1] ints.

    min(max_predictions, max(1, round(rate * tokens))), create_pretraining_data.py. A table computed in
    Python because the original rounds half to even in float64; float32 on a device differs. ELECTRA's
    does, by one token: at a rate of .15, for rows of 190, 350 and 390 tokens out of all lengths up to 512.
    `max_predictions` stands for `limit`. A row of padding predicts nothing.
    """
    most = limit(length, rate, max_predictions, with_replacement)
    return [min(max(1, round(rate * tokens)), tokens, most) for tokens in range(length + 1)]


def mask_tokens(
    batch,
    vocabulary,
    key,
    counts=None,
    *,
    rate,
    mask,
    random,
    max_predictions,
    unit,
    max_ngram,
    with_replacement,
    frequency_smoothing=0.0,
    words="marked",
):
    """Masks tokens as BERT, ALBERT or ELECTRA does.

    Chooses among all tokens except special ones and padding, and replaces each chosen one with [MASK]
    (probability `mask`) or a token drawn from the whole vocabulary, specials included (`random`), or
    keeps it (the rest). BERT: section 3.1 and A.1, create_pretraining_data.py. ALBERT: section 4.1,
    see `choose_words`. ELECTRA: pretrain_helpers.py, see `draw_positions`.

    Args:
      batch: `tokens`, `mask` [B, S]; `index` [B], the examples' global indices.
      vocabulary: the tokenizer's `Vocabulary`.
      key: the run's key for corruption; the same on every step.
      counts: [V], token counts in the training text; read only with `frequency_smoothing`.
      rate: share of the real tokens to predict, see `prediction_counts`. If it is a `Varying`, P is that of the largest;
        each member's predictions come first, as with its own rate, and have the same draws.
      unit: what is chosen: 'token' (BERT, ELECTRA), 'word' (BERT's whole words) or 'ngram' (ALBERT).
      max_ngram: words in the longest n-gram; read only by 'ngram'.
      words: what begins one: 'marked', `vocabulary.starts_word`; 'split', `vocabulary.starts_split` (ALBERT's release).
      with_replacement: draw tokens with replacement (ELECTRA).
      frequency_smoothing: draw tokens in sequence with probabilities proportional to 1 / count ** frequency_smoothing, so that
        rare ones are predicted more often, and the unknown token never (DistilBERT, 0.7: distiller.py and
        train.py, after XLM). The original draws from all tokens of a batch together; here each row has its own
        number of predictions, independent of its batch. 0: uniform.

    Returns:
      The batch with corrupted `tokens` [B, S], and `positions`, `targets` [B, P] int32, `weights` [B, P]
      float32: 1 for the first n predictions of each row, 0 after them; in reading order, or, with
      replacement, in draw order with possible repeats. `original` [B, S] are the uncorrupted tokens, `keys`
      [B] are keys for further draws about a row (`sample`), independent of all draws made here.

    Raises:
      UserError: an unknown `unit`, `max_ngram` below 1, or `with_replacement` or `frequency_smoothing` with words or n-grams.
    """
    check_bound("corruption.unit", unit, UNITS)
    if with_replacement and unit != "token":
        raise UserError(f"corruption.with_replacement needs corruption.unit='token', not {unit!r}")
    if unit == "ngram" and max_ngram < 1:
        raise UserError(f"corruption.max_ngram={max_ngram}: at least 1")
    if frequency_smoothing and (unit != "token" or with_replacement):
        raise UserError("corruption.frequency_smoothing needs corruption.unit='token' and with_replacement=False")
    length = batch["tokens"].shape[1]
    predicted = each(lambda rate: prediction_counts(length, rate, max_predictions, with_replacement), rate)
    predictions = largest(each(max, predicted))
    special = jnp.asarray(vocabulary.special)
    starts_word = jnp.asarray(vocabulary.starts_split if words == "split" else vocabulary.starts_word)

    def corrupt(tokens, real, index):
        keys = jax.random.split(jax.random.fold_in(key, index), 5)
        order_key, kind_key, token_key, ngram_key, row_key = keys
        real = real.astype(bool)
        candidate = real & ~special[tokens]
        if frequency_smoothing and vocabulary.unknown is not None:
            candidate &= tokens != vocabulary.unknown
        count = jnp.asarray(predicted)[real.sum()]
        if with_replacement:
            drawn = (jax.random.uniform(of, (predictions,)) for of in (order_key, kind_key))
            positions, weights, kind = draw_positions(candidate, count, *drawn)
            chosen = kind < 1
        else:
            score = jax.random.uniform(order_key, (length,))
            if frequency_smoothing:
                # Exponential waiting times with rates w: the first n arrivals are n draws without replacement
                # proportional to w (Efraimidis and Spirakis 2006).
                weight = jnp.maximum(jnp.asarray(counts, jnp.float32), 1) ** -frequency_smoothing
                score = -jnp.log1p(-score) / weight[tokens]
            score = jnp.where(candidate, score, jnp.inf)
            if unit == "token":
                chosen = candidate & lowest(score, count)
            else:
                draws = jax.random.uniform(ngram_key, (length,))
                most = max_ngram if unit == "ngram" else 1
                chosen = choose_words(candidate, starts_word[tokens], count, score, draws, most)
            kind = jax.random.uniform(kind_key, (length,))
            positions = chosen_first(chosen)[:predictions]
            weights = (jnp.arange(predictions) < chosen.sum()).astype(jnp.float32)

        drawn = jax.random.randint(token_key, (length,), 0, vocabulary.size)
        shown = jnp.where(kind < mask, vocabulary.mask, jnp.where(kind < mask + random, drawn, tokens))
        return jnp.where(chosen, shown, tokens), positions, tokens[positions], weights, row_key

    names = ("tokens", "positions", "targets", "weights", "keys")
    made = jax.vmap(corrupt)(batch["tokens"], batch["mask"], batch["index"])
    return batch | {"original": batch["tokens"]} | dict(zip(names, made, strict=True))


def lowest(score, count):
    """Where the `count` lowest of the scores [S] are, the earlier of equal ones first: bool [S].

    `argsort(argsort(score)) < count` at a tenth of its time on a CPU: XLA sorts single arrays of numbers without a comparison
    function.
    """
    last = jnp.sort(score)[jnp.maximum(count - 1, 0)]
    below, equal = score < last, score == last
    return below | (equal & (jnp.cumsum(equal) <= count - below.sum()))


def chosen_first(chosen):
    """All positions of `chosen` [S], bool, the chosen ones first, each kind in reading order: `argsort(~chosen)`, int32."""
    length = len(chosen)
    return jnp.sort(jnp.arange(length, dtype=jnp.int32) + jnp.where(chosen, 0, length)) % length


def draw_positions(candidate, count, places, kinds):
    """ELECTRA's sampling with replacement (pretrain_helpers.py, mask): a token may be drawn more than once.

    Each draw tosses its own coin for what is shown. The original writes [MASK] if any of the draws
    says so: the lowest coin decides.

    Args:
      candidate: [S], true where a token may be drawn.
      count: [], number of draws that count; the others get weight 0 and position 0.
      places: [P], uniform in [0, 1): which candidate is drawn.
      kinds: [P], uniform in [0, 1): each draw's coin.

    Returns:
      Positions [P] int32, weights [P] float32, coins [S], 2 where nothing was drawn.
    """
    total = candidate.sum()
    drawn = (jnp.arange(len(places)) < count) & (total > 0)
    # floor(u n) < n in float32 too: the largest u is 1 - 2**-23, and n 2**-23 is at least n's last place.
    positions = chosen_first(candidate)[jnp.floor(places * total).astype(jnp.int32)]
    positions = jnp.where(drawn, positions, 0)
    coins = jnp.full(len(candidate), 2.0).at[positions].min(jnp.where(drawn, kinds, 2.0))
    return positions, drawn.astype(jnp.float32), coins


def choose_words(candidate, starts, count, score, draws, max_ngram):
    """Greedily takes n-grams of words that fit, visiting first words in order of score.

    This is ALBERT's masking (section 4.1; create_pretraining_data.py, create_masked_lm_predictions), and
    BERT's whole-word masking with a `max_ngram` of 1. At each word an n-gram of n words is drawn with
    p(n) proportional to 1 / n, among those that end inside the row. If it has more tokens than are still
    to be chosen, the longest shorter one that fits takes its place. If that overlaps chosen tokens, or
    not even a single word fits, it is skipped. Words on both sides of a special token are neighbours, as
    in the original's list of candidates.

    The original also normalises p(n) over the available n-grams, but at the end of the row it lists the
    truncated ones as well, so that the sum is always 1 and the last words get the remainder of any longer
    n-gram: the second-to-last starts two words with probability 5 / 11, here 1 / 3.

    Args:
      candidate: [S], true where a token may be chosen.
      starts: [S], true where a token begins a word; a word is all tokens up to the next start.
      count: [], the most tokens to choose.
      score: [S], lowest first; a word's score is that of its first token.
      draws: [S], uniform in [0, 1): decides n for the n-gram that begins there.
      max_ngram: words in the longest n-gram.

    Returns:
      [S] booleans, true at every token of a chosen word.
    """
    # A new word begins after a token that may not be chosen, so that no word spans it.
    begins = candidate & (starts | ~jnp.roll(candidate, 1).at[0].set(False))
    word = jnp.cumsum(begins)  # from 1; tokens before the first word share number 0 and are not candidates
    tokens = jnp.zeros(len(score) + 1 + max_ngram, jnp.int32).at[word].add(candidate)  # in each word

    order = jnp.argsort(score)
    first = word[order]
    # Cumulative sums of 1 / n: (1, 1.5, 1.83). u times the last possible one falls into one of the intervals.
    odds = jnp.asarray(np.cumsum(1 / np.arange(1, max_ngram + 1)), jnp.float32)
    left = jnp.clip(word[-1] - first + 1, 1, max_ngram)
    shorter = (draws[order] * odds[left - 1])[:, None] >= odds  # [S, max_ngram]: n is larger than 1, 2, ...
    n = jnp.minimum(1 + shorter.sum(1), left)
    words = first[:, None] + jnp.arange(max_ngram)  # [S, max_ngram]: the words of the longest n-gram
    possible = begins[order][:, None] & (jnp.arange(max_ngram) < n[:, None])

    def take(carry, start):
        total, taken = carry
        words, size, possible = start
        fits = possible & (total + size <= count)  # true for 1, 2, ... words, up to the longest that fits
        fits &= ~(taken[words] & fits).any()
        return (total + jnp.max(size * fits), taken.at[words].max(fits)), None

    starts = (words, jnp.cumsum(tokens[words], axis=1), possible)
    (_, taken), _ = lax.scan(take, (0, jnp.zeros(len(tokens), bool)), starts)
    return taken[word] & candidate


def sample(logits, keys, temperature):
    """Draws a token from every softmax(logits / temperature) with the Gumbel-max trick.

    ELECTRA's sampling from its generator (pretrain_helpers.py, sample_from_softmax). In float32 whatever
    the logits' dtype: noise added in bfloat16 would be too coarse. No gradient flows.

    Args:
      logits: [B, P, V].
      keys: [B], one per row, so a row's samples depend on no other row (made by `mask_tokens`).
      temperature: above 0.

    Returns:
      [B, P] int32.
    """

    def draw(key, logits):
        noise = jax.random.gumbel(key, logits.shape, jnp.float32)
        return jnp.argmax(logits.astype(jnp.float32) / temperature + noise, axis=-1).astype(jnp.int32)

    return jax.vmap(draw)(keys, lax.stop_gradient(logits))


def replace(original, positions, weights, samples, average_duplicates=False):
    """Writes samples into the original tokens: the discriminator's input (ELECTRA, section 2).

    If a position was drawn more than once, each draw has its own sample, and the first one wins. The
    release instead takes the floor of the ids' mean, a token that was never sampled
    (pretrain_helpers.py, scatter_update): `average_duplicates` does that.

    Args:
      original: [B, S], tokens before masking.
      positions, samples: [B, P].
      weights: [B, P]; samples with weight 0 are not written.

    Returns:
      [B, S] int32. All in integers, so ids are exact; a mean is exact while its sum is below 2**31.
    """
    hits = (positions[:, :, None] == jnp.arange(original.shape[1])) & (weights > 0)[:, :, None]  # [B, P, S]
    if average_duplicates:
        count = hits.sum(1)
        written = jnp.where(hits, samples[:, :, None], 0).sum(1) // jnp.maximum(count, 1)
    else:
        written = jnp.take_along_axis(samples, jnp.argmax(hits, axis=1), axis=1)
    return jnp.where(hits.any(1), written, original).astype(jnp.int32)


def next_tokens(batch):
    """Next-token targets; hides nothing (GPT, section 3.1).

    Args:
      batch: `tokens`, `mask` [B, S], or [B, C, S] for choices; `documents` [B, S], if present, numbers the documents of
        a row: no token predicts the first token of another document; `answered` [B, S], if present, is true at the tokens
        that are predicted (data/questions.py).

    Returns:
      The batch with `targets` [B, S] int32, the row shifted left by one; `weights` [B, S] float32, 1 where
      the token and its successor are real and in the same document; `original`, the tokens. The last token
      of a row has no successor: target 0, weight 0.
    """
    tokens, real = batch["tokens"], batch["mask"].astype(bool)
    asked = real[..., :-1] & real[..., 1:]
    if "documents" in batch:
        asked &= batch["documents"][:, :-1] == batch["documents"][:, 1:]
    if "answered" in batch:
        asked &= batch["answered"][:, 1:].astype(bool)
    end = ((0, 0),) * (tokens.ndim - 1) + ((0, 1),)
    return batch | {
        "original": tokens,
        "targets": jnp.pad(tokens[..., 1:], end).astype(jnp.int32),
        "weights": jnp.pad(asked.astype(jnp.float32), end),
    }
