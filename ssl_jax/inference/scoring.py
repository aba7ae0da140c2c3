"""Queries for evaluation without training: how likely a continuation or a text is, and what comes next.

Nothing here depends on tasks. Each call takes a `runs.Run`, ours or a folder of `transformers` (`load.load_run`):

    log_likelihoods                   log p(continuation | context)                             causal runs
    rolling                           log p(text), of any length                                causal runs
    generate_until                    what comes after a context, up to a stop string           causal runs
    pseudo_log_likelihoods            each token of the continuation masked in turn             BERT, ALBERT, generators
    discriminator_log_likelihoods     each token of the continuation taken for an original one  ELECTRA's discriminator

`scorer` returns the one that scores continuations with a run's heads.

Shapes: B rows, S positions, P positions whose logits are computed, and as many questions per row, V vocabulary.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.inference import generate
from ssl_jax.inference.generate import require


class LogLikelihood(NamedTuple):
    """The score of a continuation or a text."""

    total: float  # the sum of `per_token`, nats
    tokens: int  # number scored
    greedy: bool  # whether each is the model's first choice; ties go to the lowest id
    per_token: tuple[float, ...]


def encode(run, text):
    """Token ids of a text, without [CLS] and [SEP]."""
    return run.tokenizer.encode(text, add_special_tokens=False).ids


def encode_pair(run, context, continuation):
    """Token ids of a context and its continuation, split as is standard (EleutherAI's lm-evaluation-harness).

    Trailing spaces of the context move to the continuation, since tokens begin with the space before a word. The
    continuation is the tokens of the whole text after the first n, where the context by itself has n.
    """
    stripped = context.rstrip()
    ids = encode(run, stripped)
    return ids, encode(run, stripped + context[len(stripped) :] + continuation)[len(ids) :]


def log_likelihoods(run, requests, batch_size=16):
    """log p(continuation | context) of each request under a causal model.

    Args:
      run: `runs.Run` with a clm head.
      requests: pairs of str, (context, continuation), tokenised by `encode_pair`.
      batch_size: texts per forward pass; it only changes results by rounding.

    Returns:
      A list of `LogLikelihood`. See `token_log_likelihoods` for empty and long contexts.

    Raises:
      UserError: as `token_log_likelihoods`.
    """
    return token_log_likelihoods(run, [encode_pair(run, *request) for request in requests], batch_size)


def token_log_likelihoods(run, requests, batch_size=16):
    """`log_likelihoods` for pairs of lists of token ids.

    An empty context becomes the end-of-text token, as between two documents in training. If the tokenizer has none
    (GPT-1), the first token of the continuation is the context and is not scored: `tokens` is one less. A context
    that does not fit the model's positions is truncated on the left.

    Equal texts are run once: single-token continuations of the same context, such as the choices of a question, share
    a row and its logits.

    Raises:
      UserError: the model is not causal; no token of a continuation can be scored; it is longer than the positions.
    """
    require_causal(run)
    positions, rows = run.model.config.max_positions, []
    for number, (context, continuation) in enumerate(requests):
        context, continuation = list(context), list(continuation)
        if not context:
            text = begin(run, continuation)
            context, continuation = text[:1], text[1:]
        require_scored(number, continuation, positions, "score the text with rolling, or shorten it")
        text = (context + continuation)[-positions - 1 :]
        first = len(text) - len(continuation)
        rows.append((text[:-1], list(enumerate(text[first:], first - 1))))
    return [summed(found) for found in ask(run, "clm", rows, batch_size)]


def rolling(run, texts, window=None, stride=None, batch_size=8):
    """log p of each whole text, of any length, under a causal model; no token is left out.

    The first `window` tokens are one pass, conditioned on the end-of-text token (see `token_log_likelihoods`, also for
    tokenizers without one). Each further pass scores the next `stride` tokens and reads `window`: the first of them
    has `window - stride + 1` tokens of context. So a stride of 1 gives each token the most context, at one
    pass per token, and a stride of `window`, the cheapest, is what EleutherAI's harness uses.

    Args:
      run: `runs.Run` with a clm head.
      texts: list of str.
      window: number of tokens the model reads at once; None: its positions.
      stride: number of new tokens each pass scores; None: `window`.
      batch_size: windows per forward pass; their logits are [batch_size, window, V] in the first pass.

    Returns:
      A list of `LogLikelihood`; the total is 0 for a text without a token to score.

    Raises:
      UserError: the model is not causal; window or stride is out of range.
    """
    require_causal(run)
    positions = run.model.config.max_positions
    window = window or positions
    stride = stride or window
    require("window", window, 1 <= window <= positions, f"from 1 to the model's positions, {positions}")
    require("stride", stride, 1 <= stride <= window, f"from 1 to the window, {window}")
    passes = [windows(begin(run, encode(run, text)), window, stride) for text in texts]
    found = iter(token_log_likelihoods(run, [pair for pairs in passes for pair in pairs], batch_size))
    results = []
    for pairs in passes:
        parts = [next(found) for _ in pairs]
        per_token = tuple(log_p for part in parts for log_p in part.per_token)
        greedy = all(part.greedy for part in parts)
        results.append(LogLikelihood(math.fsum(per_token), len(per_token), greedy, per_token))
    return results


def windows(text, window, stride):
    """Cuts a text into (context, continuation) pairs; the continuations together are all but its first token."""
    pairs, scored = [], 1
    while scored < len(text):
        end = min(scored + (stride if pairs else window), len(text))
        pairs.append((text[max(0, end - 1 - window) : scored], text[scored:end]))
        scored = end
    return pairs


def begin(run, ids):
    """Prepends the start-of-text token (usually the same as end-of-text), if there is one."""
    start = run.vocabulary.start_of_text
    return [start] * (start is not None) + ids


def generate_until(run, contexts, **options):
    """Continues each text until a stop string.

    Args:
      run: `runs.Run` with a clm head.
      contexts: list of str. If the model should begin with a space, the context must not end with one.
      **options: as for `continue_until`.

    Returns:
      For each context, the str that follows it.

    Raises:
      UserError: as `continue_until`.
    """
    return continue_until(run, [encode(run, context) for context in contexts], **options)


def continue_until(
    run, prompts, *, stop=(), max_tokens, temperature=0.0, top_k=0, top_p=1.0, beams=0, length_penalty=0.6, seed=0,
    batch_size=8,
):  # fmt: skip
    """`generate_until` for lists of token ids.

    A text ends before the first stop string, which may begin and end inside tokens, before the end-of-text token, or
    after `max_tokens`. A batch is done when all its texts are.

    Args:
      run: `runs.Run` with a clm head.
      prompts: lists of token ids.
      stop: strings that end a text.
      max_tokens: maximum number of tokens to generate, stop strings included.
      temperature, top_k, top_p, seed: as for `generate.stream`; a temperature of 0 is greedy. Sampling is keyed
        by the prompt's index in `prompts`, not by its batch.
      beams: take the best of this many beams (`generate.beam_search`; sampling options do not apply); 0: no search.
      length_penalty: for beam search.
      batch_size: prompts per batch.

    Returns:
      A list of str, without the stop strings.

    Raises:
      UserError: a prompt does not fit the positions together with `max_tokens`; as `generate.stream` and
        `generate.beam_search`.
    """
    require("beams", beams, beams >= 0, "at least 0, which is no search")
    require("beams", beams, not beams or not temperature, "a search takes the likeliest: leave temperature at 0")
    if beams:
        options = dict(beams=beams, length_penalty=length_penalty, batch_size=batch_size)
        return [texts[0] for texts in search_until(run, prompts, stop=stop, max_tokens=max_tokens, **options)]

    def write(part, start, ends):
        rows = range(start, start + len(part))
        sampling = dict(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, rows=rows)
        return [[tokens] for tokens in generate.generate(run, part, max_tokens=max_tokens, ends=ends, **sampling)]

    return [text for (text,) in _until(run, prompts, stop, max_tokens, batch_size, write)]


def search_until(run, prompts, *, stop=(), max_tokens, beams, length_penalty=0.6, batch_size=8):
    """All hypotheses of `continue_until`'s beam search: for each prompt up to `beams` texts, best first."""

    def write(part, start, ends):
        del start
        options = dict(beams=beams, length_penalty=length_penalty, ends=ends)
        found = generate.beam_search(run, part, max_tokens=max_tokens, **options)
        return [[one.tokens for one in hypotheses] for hypotheses in found]

    return _until(run, prompts, stop, max_tokens, batch_size, write)


def _until(run, prompts, stop, max_tokens, batch_size, write):
    """Each prompt's continuations, cut before the stop strings: a list per prompt.

    `write(prompts, start, ends)` returns lists of continuations of the prompts from index `start` on; `ends` is as for
    `generate.stream`.
    """
    require("batch_size", batch_size, batch_size >= 1, "at least 1")
    require("stop", stop, not isinstance(stop, str) and all(stop), "a list of strings that are not empty")
    require_causal(run)
    for number, prompt in enumerate(prompts):
        excess = max(len(prompt), 1) + max_tokens - run.model.config.max_positions
        if excess > 0:
            raise UserError(
                f"context {number} has {len(prompt)} tokens, with max_tokens={max_tokens} {excess} more than "
                f"model.max_positions={run.model.config.max_positions}: shorten it or lower max_tokens"
            )
    results = []
    for start in range(0, len(prompts), batch_size):
        part = prompts[start : start + batch_size]
        shown = [run.tokenizer.decode(prompt) for prompt in part]

        def text(row, tokens, part=part, shown=shown):
            return generate.added(shown[row], run.tokenizer.decode([*part[row], *tokens]))

        def ends(row, tokens, text=text):
            return bool(stop) and cut(text(row, tokens), stop) is not None

        for row, continuations in enumerate(write(part, start, ends)):
            texts = [text(row, tokens) for tokens in continuations]
            results.append([whole if cut(whole, stop) is None else cut(whole, stop) for whole in texts])
    return results


def cut(text, stop):
    """The part of a text before the first stop string; None if it has none."""
    places = [place for place in (text.find(one) for one in stop) if place >= 0]
    return text[: min(places)] if places else None


def pseudo_log_likelihoods(run, requests, batch_size=32):
    """How well a masked language model knows each continuation in its context.

    The pseudo-log-likelihood (Salazar et al. 2020, arXiv 1910.14659, equation 2) of the continuation's tokens: each
    is masked in turn and predicted from all others, including later ones, in [CLS] context continuation [SEP].
    The paper scores whole texts: here, those with an empty context. It is not a probability of the text: compare it
    only with other pseudo-log-likelihoods of the same model.

    Args:
      run: `runs.Run` with an mlm head; for an ELECTRA with both halves, the generator's.
      requests: pairs of str, (context, continuation), tokenised by `encode_pair`. A context that does not fit the
        model's positions is truncated on the left.
      batch_size: masked copies per forward pass.

    Returns:
      A list of `LogLikelihood`; `greedy`: each masked token is the likeliest at its position.

    Raises:
      UserError: the head is missing; a continuation has no token or does not fit the positions.
    """
    require_head(run, "mlm", "a masked language model (losses.mlm)")
    copies, counts = [], []
    for tokens, places in framed(run, requests):
        counts.append(len(places))
        for place in places:
            masked = [*tokens[:place], run.vocabulary.mask, *tokens[place + 1 :]]
            copies.append((masked, [(place, tokens[place])]))
    found = iter(ask(run, "mlm", copies, batch_size))
    return [summed([one for _ in range(count) for one in next(found)]) for count in counts]


def discriminator_log_likelihoods(run, requests, batch_size=32):
    """How original each continuation looks to ELECTRA's discriminator, in its context.

    The sum of log(1 - p(replaced)) over the continuation's tokens, all unmasked, in one pass over [CLS] context
    continuation [SEP]. Scoring an answer's words with the discriminator is from Xia et al. (2022, arXiv 2205.15223),
    who average over tokens; the sum, consistent with the other scores, is ours.

    Args:
      run: `runs.Run` with a replaced head.
      requests, batch_size: as for `pseudo_log_likelihoods`.

    Returns:
      A list of `LogLikelihood`; `greedy`: no token is classified as replaced.

    Raises:
      UserError: as `pseudo_log_likelihoods`.
    """
    require_head(run, "replaced", "a discriminator (losses.rtd)")
    rows = [(tokens, [(place, ORIGINAL) for place in places]) for tokens, places in framed(run, requests)]
    return [summed(found) for found in ask(run, "replaced", rows, batch_size)]


def scorer(run, of_words=False):
    """Picks the function above that scores (context, continuation) with a run's heads.

    `log_likelihoods` for a causal model, `discriminator_log_likelihoods` if there is a discriminator (even next to a
    generator), else `pseudo_log_likelihoods`; f(run, requests, batch_size=...) -> list of `LogLikelihood`.

    Args:
      run: `runs.Run`.
      of_words: scores must be probabilities over the vocabulary: a discriminator's are not, so the generator next to it
        is used.

    Raises:
      UserError: the run has none of these heads.
    """
    functions = dict(clm=log_likelihoods, replaced=discriminator_log_likelihoods, mlm=pseudo_log_likelihoods)
    needs = dict(clm="next (losses.clm)", replaced="replaced (losses.rtd)", mlm="masked (losses.mlm)")
    if of_words:
        del functions["replaced"], needs["replaced"]
    for head, function in functions.items():
        if head in run.model.heads:
            return function
    raise UserError(
        f"this run cannot score {'words' if of_words else 'text'}: it has heads for "
        f"{', '.join(run.model.heads) or 'nothing'}, none for {' or '.join(needs.values())} tokens"
    )


def framed(run, requests):
    """Yields [CLS] context continuation [SEP] and the continuation's positions in it, per request to an encoder."""
    vocabulary, room = run.vocabulary, run.model.config.max_positions - 2
    for number, request in enumerate(requests):
        context, continuation = encode_pair(run, *request)
        require_scored(number, continuation, room, "shorten it")
        text = (context + continuation)[-room:]
        end = len(text) + 1
        yield [vocabulary.start, *text, vocabulary.separator], range(end - len(continuation), end)


def require_causal(run):
    """Raises UserError unless a run predicts next tokens: perplexity and generation need that."""
    require_head(run, "clm", "a causal language model (losses.clm)")


def require_head(run, head, what):
    """Raises UserError unless a run has a head."""
    if head not in run.model.heads:
        raise UserError(f"this run is not {what}: it has heads for {', '.join(run.model.heads) or 'nothing'}")


def require_scored(number, continuation, room, advice):
    """Raises UserError unless a continuation has tokens, and they fit."""
    if not continuation:
        raise UserError(f"request {number} has nothing to score: its continuation has no token of its own")
    if len(continuation) > room:
        raise UserError(
            f"request {number}: its continuation of {len(continuation)} tokens is {len(continuation) - room} more than "
            f"the {room} that fit the model's positions: {advice}"
        )


def summed(found):
    """The `LogLikelihood` of one row's results from `ask`."""
    per_token = tuple(log_p for log_p, _ in found)
    return LogLikelihood(math.fsum(per_token), len(per_token), all(first for _, first in found), per_token)


# Classes of a 'replaced' head.
ORIGINAL = 0


def ask(run, head, rows, batch_size):
    """How likely given tokens are at given positions of texts.

    Rows with the same text are merged, sorted by length and right-padded to a few lengths, so that few programs are
    compiled.

    Args:
      run: `runs.Run`.
      head: 'clm', 'mlm' or 'replaced', whose classes are ORIGINAL and 1.
      rows: pairs of the model's input, a list of token ids, and its questions: (position, token) pairs.
      batch_size: rows per forward pass.

    Returns:
      For each row, a list of (log p, whether no other token is likelier, or as likely with a lower id).
    """
    require("batch_size", batch_size, batch_size >= 1, "at least 1")
    asked = {}  # tokens -> questions, in order
    for tokens, questions in rows:
        numbers = asked.setdefault(np.asarray(tokens, np.int32).tobytes(), {})
        for question in questions:
            numbers.setdefault(question, len(numbers))
    answers, order = {}, sorted(asked, key=lambda text: (len(text), len(asked[text])))
    for start in range(0, len(order), batch_size):
        texts = order[start : start + batch_size]
        count = min(batch_size, padded(len(order)))
        batch = lay_out(texts, [asked[text] for text in texts], count, run.model.config.max_positions)
        log_p, first = (np.asarray(x).tolist() for x in read(run.model, run.params, head=head, **batch))
        answers |= {text: list(zip(*pair)) for text, *pair in zip(texts, log_p, first)}
    results = []
    for tokens, questions in rows:
        text = np.asarray(tokens, np.int32).tobytes()
        results.append([answers[text][asked[text][question]] for question in questions])
    return results


def padded(length, least=1):
    """The next power of two, from `least` to 64, then the next multiple of 64."""
    return max(least, 1 << (length - 1).bit_length()) if length <= 64 else -(-length // 64) * 64


def lay_out(texts, asked, count, longest):
    """Arguments of `read`, int32: `texts` (bytes of token ids) and their questions, in `count` rows."""
    texts = [np.frombuffer(text, np.int32) for text in texts]
    length = min(padded(max(map(len, texts)), least=16), longest)
    most = padded(max(map(len, asked)), least=8)  # no more positions than questions
    tokens, lengths = np.zeros((count, length), np.int32), np.ones(count, np.int32)
    positions, which, targets = np.zeros((3, count, most), np.int32)
    for row, (text, questions) in enumerate(zip(texts, asked, strict=True)):
        tokens[row, : len(text)], lengths[row] = text, len(text)
        places = {place: number for number, place in enumerate(sorted({place for place, _ in questions}))}
        positions[row, : len(places)] = list(places)
        which[row, : len(questions)] = [places[place] for place, _ in questions]
        targets[row, : len(questions)] = [token for _, token in questions]
    return dict(tokens=tokens, lengths=lengths, positions=positions, which=which, targets=targets)


@functools.partial(jax.jit, static_argnames=("model", "head"))
def read(model, params, tokens, lengths, positions, which, targets, head):
    """One forward pass that computes logits only at `positions`.

    Args:
      model: `Model` with the head.
      params: its parameters.
      tokens: int32 [B, S], right-padded.
      lengths: int32 [B], of the rows.
      positions: int32 [B, P], where logits are computed.
      which, targets: int32 [B, P], the questions: an index into the positions, and a token there.
      head: as for `ask`.

    Returns:
      log p of the targets, float32 [B, P]; whether each is the argmax (ties: lowest id), bool [B, P].
    """
    batch = {
        "tokens": tokens,
        "mask": jnp.arange(tokens.shape[1]) < lengths[:, None],
        "segments": jnp.zeros_like(tokens),
        "positions": positions,
    }
    out = model.clone(heads=(head,)).apply({"params": params}, batch)
    if head == "replaced":
        replaced = jnp.take_along_axis(out["replaced_logit"], positions, axis=1)
        logits = jnp.stack([jnp.zeros_like(replaced), replaced], axis=-1)
    else:
        # With `predict_positions` the rows of the position table follow: they only compete in training.
        logits = out[f"{head}_logits"][..., : model.config.vocab_size]
    at = (jnp.arange(len(tokens))[:, None], which)
    log_p = logits[*at, targets] - jax.nn.logsumexp(logits, axis=-1)[at]
    return log_p, jnp.argmax(logits, axis=-1)[at] == targets
