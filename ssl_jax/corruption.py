"""What is hidden from the model, decided inside the step, in pure jnp.

Every random choice about an example is keyed by its global number, so it does not matter on which
device, in which micro-batch or after which restart the example is seen.
"""

import jax
import jax.numpy as jnp
from jax import lax


def prediction_counts(length, rate, max_predictions):
    """How many tokens to predict for each number of real tokens, specials included: [length + 1] ints.

    min(max_predictions, max(1, round(rate * tokens))), create_pretraining_data.py. It is a table made by
    Python because the original rounds half to even on a float64; float32 on a device could differ.
    `max_predictions` 0 sets no cap. A row of padding predicts nothing.
    """
    counts = [min(max(1, round(rate * tokens)), tokens) for tokens in range(length + 1)]
    return [min(count, max_predictions or length) for count in counts]


def mask_tokens(batch, vocabulary, key, *, rate, mask, random, max_predictions, whole_word):
    """BERT's masking (section 3.1 and A.1; create_pretraining_data.py, create_masked_lm_predictions).

    Chooses positions without replacement among all tokens but [CLS], [SEP] and padding, and shows at
    each [MASK] (probability `mask`), a token drawn from the whole vocabulary, specials included
    (`random`), or the token itself (the rest).

    Args:
      batch: `tokens`, `mask` [B, S]; `index` [B], the examples' global numbers.
      vocabulary: the tokenizer's `Vocabulary`.
      key: the run's key for corruption; the same on every step.
      rate: share of the real tokens to predict, see `prediction_counts`.
      whole_word: choose words, not pieces; a word that would exceed the count is passed over.

    Returns:
      The batch with corrupted `tokens` [B, S], and `positions`, `targets` [B, P] int32, `weights` [B, P]
      float32: 1 for the first n predictions of each row, 0 after them.
    """
    length = batch["tokens"].shape[1]
    counts = prediction_counts(length, rate, max_predictions)
    special, starts_word = jnp.asarray(vocabulary.special), jnp.asarray(vocabulary.starts_word)

    def corrupt(tokens, real, index):
        order_key, kind_key, token_key = jax.random.split(jax.random.fold_in(key, index), 3)
        real = real.astype(bool)
        candidate = real & ~special[tokens]
        count = jnp.asarray(counts)[real.sum()]
        score = jnp.where(candidate, jax.random.uniform(order_key, (length,)), 2.0)
        if whole_word:
            chosen = _choose_words(candidate, starts_word[tokens], count, score)
        else:
            chosen = candidate & (jnp.argsort(jnp.argsort(score)) < count)

        kind = jax.random.uniform(kind_key, (length,))
        drawn = jax.random.randint(token_key, (length,), 0, vocabulary.size)
        shown = jnp.where(kind < mask, vocabulary.mask, jnp.where(kind < mask + random, drawn, tokens))
        # A stable sort on "not chosen" puts the chosen positions first, in reading order.
        positions = jnp.argsort(~chosen, stable=True)[: max(counts)]
        weights = (jnp.arange(max(counts)) < chosen.sum()).astype(jnp.float32)
        return jnp.where(chosen, shown, tokens), positions, tokens[positions], weights

    names = ("tokens", "positions", "targets", "weights")
    made = jax.vmap(corrupt)(batch["tokens"], batch["mask"], batch["index"])
    return batch | dict(zip(names, made, strict=True))


def _choose_words(candidate, starts, count, score):
    """Takes words in the order of their scores, passing over those that would exceed `count`.

    Args:
      candidate: [S], true where a token may be chosen.
      starts: [S], true where a token begins a word; a word is all tokens up to the next start.
      count: [], tokens to choose at most.
      score: [S], lowest first; a word's score is that of its first token.

    Returns:
      [S] booleans, true at every token of a chosen word.
    """
    # After a token that may not be chosen a new word begins, so that no word reaches across it.
    begins = candidate & (starts | ~jnp.roll(candidate, 1).at[0].set(False))
    word = jnp.cumsum(begins)  # tokens before the first word share number 0, and are no candidates
    sizes = jnp.zeros(len(score) + 1, jnp.int32).at[word].add(candidate)

    def take(total, position):
        size = sizes[word[position]]
        fits = begins[position] & (total + size <= count)
        return total + size * fits, fits

    order = jnp.argsort(score)
    _, fits = lax.scan(take, 0, order)
    taken = jnp.zeros(len(score) + 1, bool).at[word[order]].max(fits)
    return taken[word] & candidate
