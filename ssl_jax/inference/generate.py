"""Text generation with a causal model: greedy, sampled (temperature, top-k, nucleus) or by beam search.

Prompts of unequal length form one batch, padded on the left: all end in the same column, so masking by column
(causality, bands) equals masking by position. A prompt is run once and its keys and values are cached; then each
step runs one column.

Shapes: B rows, T columns (prompts and new tokens), V vocabulary, L layers, A heads, D head size,
K beams.
"""

import functools
import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ssl_jax.errors import UserError


def generate(run, prompts, **options):
    """Continues each prompt.

    Args:
      run, prompts, **options: as for `stream`.

    Returns:
      For each prompt, the list of new token ids without the end-of-text token: shorter than `max_tokens`
      exactly where the model ended the text.

    Raises:
      UserError: as `stream`.
    """
    prompts = list(prompts)
    texts = [[] for _ in prompts]
    for row, token in stream(run, prompts, **options):
        texts[row].append(token)
    return texts


def stream(
    run, prompts, *, max_tokens, temperature=1.0, top_k=0, top_p=1.0, seed=0, rows=None, ends=None, use_cache=True
):
    """Yields (index of the prompt, token id) for each new token as soon as it is generated.

    The logits are divided by the temperature, then the `top_k` likeliest tokens are kept, then of those the
    nucleus: the smallest set of likeliest tokens with a total probability of `top_p` (Holtzman et al. 2020,
    arXiv 1904.09751). A row ends before the first token in the vocabulary's `ends`: end of text, or what a model's
    folder names.

    Sampling is keyed by (seed, row, position in the row's text): a prompt's continuation does not depend on the
    rest of the batch or on the cache.

    Args:
      run: `runs.Run`, or any object with its `model`, `params` and `vocabulary`.
      prompts: lists of token ids. An empty one starts from the vocabulary's `start_of_text`.
      max_tokens: maximum number of new tokens.
      temperature: 0 is greedy: the likeliest token, regardless of top_k and top_p.
      top_k: 0: all. GPT-2's summaries (section 3.6) use top_k=2.
      top_p: 1: all.
      seed: for sampling.
      rows: a number for each prompt that keys its sampling; None: 0, 1, 2, ... Lets many prompts be split into
        batches without changing the output.
      ends: f(index of the prompt, its new token ids) -> bool: whether the last of them ends its text; called
        after that token has been yielded. None: only the end-of-text token ends a text.
      use_cache: False reruns the whole text for each token: the same tokens, slower, no memory for a cache.

    Raises:
      UserError: immediately, not at the first token: the model is not causal, a prompt has tokens outside its
        vocabulary or does not fit its positions together with `max_tokens`, an empty prompt has nothing to
        start from, a value is out of range.
    """
    require("temperature", temperature, temperature >= 0, "at least 0, which is greedy")
    require("top_k", top_k, top_k >= 0, "at least 0, which is all tokens")
    require("top_p", top_p, 0 < top_p <= 1, "above 0 and up to 1, which is all tokens")
    require("seed", seed, seed >= 0, "at least 0")
    prompts = list(prompts)
    rows = np.arange(len(prompts)) if rows is None else np.asarray(rows)
    require("rows", rows, len(rows) == len(prompts), f"a number for each of {len(prompts)} prompts")
    texts = lay_out(run, prompts, max_tokens)
    key, end_ids = jax.random.key(seed), run.vocabulary.ends

    def continuations():
        tokens, first, width = texts
        model, params = run.model, run.params
        cache = empty_cache(model.config, *tokens.shape) if use_cache else {}
        going = np.ones(len(tokens), bool)
        for column in range(width, width + max_tokens):
            count = tokens.shape[1] if not use_cache else width if column == width else 1
            logits, cache = read(model, params, tokens, first, column - 1, cache, count)
            chosen = np.asarray(choose(logits, key, rows, column - first, temperature, top_k, top_p))
            going &= ~np.isin(chosen, end_ids)
            tokens[:, column] = chosen
            for row in np.flatnonzero(going).tolist():
                yield row, int(chosen[row])
                going[row] = not (ends and ends(row, tokens[row, width : column + 1].tolist()))
            if not going.any():
                return

    return continuations()


class Hypothesis(NamedTuple):
    """A continuation from `beam_search`."""

    tokens: list[int]  # without the end-of-text token
    score: float


def beam_search(run, prompts, *, max_tokens, beams=4, length_penalty=0.6, ends=None):
    """The highest-scoring continuations of each prompt, keeping the likeliest `beams` at every step.

    The score is GNMT's (Wu et al. 2016, arXiv 1609.08144, equation 14 without the coverage):
    log p / ((5 + length) / 6) ** length_penalty, where p and the length include the end-of-text token if the
    continuation has one. The defaults are those of GPT-3 (section 2.4), which took them from T5.

    At each step, candidates among the best `beams` that end the text become finished hypotheses, and the best
    `beams` that do not end it continue. A prompt's search is over when it has `beams` finished hypotheses; at
    `max_tokens` the unfinished ones compete with the finished ones. So one beam is greedy, and
    V ** (max_tokens - 1) beams are exhaustive.

    Args:
      run, prompts, max_tokens: as for `stream`.
      beams: K, the number of continuations kept at each step.
      length_penalty: 0 scores by log p only, which favours short texts; larger values favour longer ones.
      ends: as for `stream`; the last token is part of the hypothesis. If nearly all of a prompt's best 2 K
        candidates end, it continues with fewer than K beams.

    Returns:
      For each prompt, up to K `Hypothesis`, best first.

    Raises:
      UserError: as `stream`.
    """
    require("beams", beams, beams >= 1, "at least 1")
    prompts = list(prompts)
    tokens, first, width = lay_out(run, prompts, max_tokens)
    model, params, end_ids = run.model, run.params, run.vocabulary.ends
    # The prompts run once; then each becomes K rows, of which only the first is alive: the others are its copies.
    cache = empty_cache(model.config, *tokens.shape)
    logits, cache = read(model, params, tokens, first, width - 1, cache, width)
    logits, cache = jnp.repeat(logits, beams, 0), jax.tree.map(lambda x: jnp.repeat(x, beams, 1), cache)
    tokens, first = np.repeat(tokens, beams, 0), np.repeat(first, beams)
    totals = np.tile(np.where(np.arange(beams) == 0, 0, -np.inf).astype(np.float32), (len(prompts), 1))
    finished = [[] for _ in prompts]

    def hypothesis(log_p, text, length):
        return Hypothesis(text, length_score(log_p, length, length_penalty))

    for column in range(width, width + max_tokens):
        before = tokens[:, width:column].tolist()

        def over(row, token, before=before):
            return token in end_ids or bool(ends) and ends(row // beams, [*before[row], token])

        # Each beam ends the text at most once with each of the end ids.
        count = beams * max(2, 1 + len(end_ids))
        ranked = zip(*(np.asarray(x).tolist() for x in candidates(logits, totals, count)))
        parted = [select(*lists, over, beams) for lists in ranked]
        for hypotheses, (ending, _) in zip(finished, parted):
            if len(hypotheses) < beams:
                hypotheses += [
                    hypothesis(log_p, before[row] + [token] * (token not in end_ids), column - width + 1)
                    for log_p, row, token in ending
                ]
        if all(len(hypotheses) >= beams for hypotheses in finished):
            break
        totals, order, chosen = (np.array(x) for x in zip(*(one for _, going in parted for one in going)))
        totals = totals.reshape(-1, beams).astype(np.float32)
        tokens = tokens[order]
        tokens[:, column] = chosen
        if column + 1 < width + max_tokens:
            cache = jax.tree.map(lambda x: x[:, order], cache)  # noqa: B023
            logits, cache = read(model, params, tokens, first, column, cache, 1)

    for number, hypotheses in enumerate(finished):
        if len(hypotheses) < beams:
            hypotheses += [
                hypothesis(log_p, tokens[number * beams + beam, width:].tolist(), max_tokens)
                for beam, log_p in enumerate(totals[number].tolist())
                if log_p > -np.inf
            ]
        hypotheses.sort(key=lambda hypothesis: -hypothesis.score)
    return [hypotheses[:beams] for hypotheses in finished]


def length_score(log_p, length, penalty):
    """GNMT's score of a text of `length` tokens, see `beam_search`."""
    return log_p / ((5 + length) / 6) ** penalty


def select(log_p, rows, tokens, over, beams):
    """Splits one prompt's candidates, best first, into those that end the text and those that continue.

    Args:
      log_p, rows, tokens: lists, see `candidates`.
      over: f(row, token) -> bool: whether the text ends with this token.

    Returns:
      Two lists of (log p, row, token): the endings among the best `beams`, and the best `beams` others,
      padded with dead beams (log p -inf) if there are fewer.
    """
    ranked = [(one, over(*one[1:])) for one in zip(log_p, rows, tokens)]
    ending = [one for one, ends in ranked[:beams] if ends and one[0] > -np.inf]
    going = [one for one, ends in ranked if not ends][:beams]
    return ending, going + [(-np.inf, rows[0], tokens[0])] * (beams - len(going))


@functools.partial(jax.jit, static_argnames="number")
def candidates(logits, totals, number):
    """The best `number` of a prompt's K * V one-token continuations, or all if there are fewer.

    Args:
      logits: float32 [B * K, V].
      totals: float32 [B, K], log p of each beam's text so far.
      number: int.

    Returns:
      log p, float32 [B, number], descending; the row of `logits` that is continued and its new token, int32.
    """
    count, beams = totals.shape
    totals = totals.reshape(-1, 1) + jax.nn.log_softmax(logits)
    totals = totals.reshape(count, -1)
    best, numbers = lax.top_k(totals, min(number, totals.shape[1]))
    row, token = jnp.divmod(numbers, logits.shape[1])
    return best, jnp.arange(count)[:, None] * beams + row, token


def text_pieces(tokenizer, prompt, tokens):
    """Yields the text that new tokens add, piece by piece, for a terminal.

    A piece ends with a whole character: the bytes of a partial one from byte-level tokens are held back until it
    is complete or the tokens run out.

    Args:
      tokenizer: from the `tokenizers` library.
      prompt: the preceding token ids; they decide whether the first piece starts with a space.
      tokens: iterable of token ids, consumed one at a time.
    """
    ids = list(prompt)
    shown = tokenizer.decode(ids)
    for token in tokens:
        ids.append(token)
        text = tokenizer.decode(ids)
        if not text.endswith("\ufffd"):
            yield added(shown, text)
            shown = text
    yield added(shown, tokenizer.decode(ids))


def added(shown, text):
    """The part of `text` after its common prefix with `shown`."""
    return text[len(os.path.commonprefix([shown, text])) :]


class Texts(NamedTuple):
    """Prompts as one batch, with room for new tokens."""

    tokens: np.ndarray  # int32 [B, T], the prompts end in column `width` - 1
    first: np.ndarray  # int32 [B], the column where each prompt starts
    width: int


def lay_out(run, prompts, max_tokens):
    """The prompts as `Texts`, after all checks that `stream` and `beam_search` share."""
    config, begin = run.model.config, run.vocabulary.start_of_text
    if "clm" not in run.model.heads:
        raise UserError("this run cannot generate: it was not trained to predict the next token (losses.clm)")
    if config.lstm:
        raise UserError("this run cannot generate: its trunk is an LSTM (model.lstm), which scores texts alone")
    if not prompts:
        raise UserError("there is no prompt to continue")
    require("max_tokens", max_tokens, max_tokens >= 1, "at least 1")
    prompts = [list(prompt) or [begin] * (begin is not None) for prompt in prompts]
    for number, prompt in enumerate(prompts):
        if not prompt:
            raise UserError(f"prompt {number} is empty, and the tokenizer has no end-of-text token to start from")
        strange = [token for token in prompt if not 0 <= token < config.vocab_size]
        if strange:
            raise UserError(f"prompt {number} holds {strange[0]}; the model's tokens are 0 to {config.vocab_size - 1}")
        if len(prompt) + max_tokens > config.max_positions:
            raise UserError(
                f"prompt {number} has {len(prompt)} tokens, and with max_tokens={max_tokens} it does not fit "
                f"model.max_positions={config.max_positions}: shorten it or lower max_tokens"
            )
    # Rounded up to a power of two: prompts of similar length reuse a compiled program.
    longest = max(len(prompt) for prompt in prompts)
    width = min(1 << (longest - 1).bit_length(), config.max_positions - max_tokens)
    tokens = np.zeros((len(prompts), width + max_tokens), np.int32)
    for row, prompt in zip(tokens, prompts):
        row[width - len(prompt) : width] = prompt
    return Texts(tokens, np.array([width - len(prompt) for prompt in prompts], np.int32), width)


def require(name, value, holds, what):
    """Raises UserError unless `holds`."""
    if not holds:
        raise UserError(f"{name}={value}: {what}")


def empty_cache(config, rows, columns):
    """`key` and `value`, zeros [L, B, T, A, D] in the compute dtype."""
    shape = (config.layers, rows, columns, config.heads, config.head_size)
    return {name: jnp.zeros(shape, config.dtype) for name in ("key", "value")}


@functools.partial(jax.jit, static_argnames=("model", "count"), donate_argnames=("cache",))
def read(model, params, tokens, first, last, cache, count):
    """Runs `count` columns up to column `last` and predicts the one after it.

    Args:
      model: `Model` with a clm head.
      params: its parameters.
      tokens: int32 [B, T]; columns to the right of `last` are not seen.
      first: int32 [B], the column where each row's text starts.
      last: int32 scalar.
      cache: for the columns before the `count` ones, see `empty_cache`; {}: no cache, and `count` is T.
      count: int; 1, or the prompts' number of columns.

    Returns:
      Logits, float32 [B, V], and the cache including the columns just run.
    """
    config = model.config
    start = last + 1 - count if cache else 0
    columns = start + jnp.arange(count)
    batch = {
        "tokens": lax.dynamic_slice_in_dim(jnp.asarray(tokens), start, count, axis=1),
        "mask": jnp.arange(tokens.shape[1]) >= first[:, None],
        "position_ids": jnp.maximum(columns - first[:, None], 0),
        "positions": jnp.full((len(tokens), 1), last - start),
    }
    if config.type_vocab_size:
        batch["segments"] = jnp.zeros_like(batch["tokens"])
    out = model.clone(heads=("clm",)).apply({"params": params}, batch, cache | {"start": start} if cache else None)
    # With `predict_positions` the rows of the position table follow: they compete only in training.
    logits = out["clm_logits"][:, 0, : config.vocab_size]
    return logits, {name: out["layers"][name] for name in cache}


@functools.partial(jax.jit, static_argnames=("temperature", "top_k", "top_p"))
def choose(logits, key, rows, positions, temperature, top_k, top_p):
    """One token for each row, see `stream`: logits [B, V], rows and positions [B], to int32 [B]."""
    if temperature == 0:
        return jnp.argmax(logits, -1)
    # The largest is 0 at any temperature, so dividing by a small one does not overflow.
    logits = keep((logits - logits.max(-1, keepdims=True)) / temperature, top_k, top_p)
    fold = jax.vmap(jax.random.fold_in)
    keys = fold(fold(jnp.broadcast_to(key, rows.shape), rows), positions)
    return jax.vmap(jax.random.categorical)(keys, logits)


def keep(logits, top_k, top_p):
    """Logits [..., V] with -inf for tokens outside the `top_k` likeliest (0: all) and the nucleus of `top_p`.

    Ties go to the lower id, so exactly `top_k` tokens are kept.
    """
    if not top_k and top_p == 1:
        return logits
    size = logits.shape[-1]
    ranked, order = lax.top_k(logits, min(top_k or size, size))
    if top_p < 1:
        probabilities = jax.nn.softmax(ranked)
        # Kept while the preceding ones have not reached top_p: the token that reaches it is the last.
        before = jnp.cumsum(probabilities, -1) - probabilities
        ranked = jnp.where(before < top_p, ranked, -jnp.inf)
    return jnp.put_along_axis(jnp.full_like(logits, -jnp.inf), order, ranked, -1, inplace=False)
