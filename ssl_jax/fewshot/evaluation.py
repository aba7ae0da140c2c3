"""Asks a run a task's items by a protocol: examples are drawn, prompts composed, the model called, answers scored."""

import functools
from typing import NamedTuple

import numpy as np

from ssl_jax.errors import UserError
from ssl_jax.fewshot import models, prompts, scores
from ssl_jax.fewshot.items import Item

FIT = -1  # shots: as many as fit, at most MOST
MOST = 100  # GPT-3, section 2.4: 10 to 100 fit its context


class Asked(NamedTuple):
    """An item as the model reads it.

    Attributes:
      item: the Item.
      pairs: (everything that is read before, target) of each choice; of other kinds one.
      shown: how many solved examples are in it.
    """

    item: Item
    pairs: tuple
    shown: int


class Answered(NamedTuple):
    """What a run made of a task's items.

    Attributes:
      items: N Items.
      predictions: [N], as in scores.py.
      log_likelihoods: [N] float, nats, of 'cloze' and 'perplexity'; of others ().
    """

    items: list[Item]
    predictions: list
    log_likelihoods: list


def compose(run, protocol, splits, *, shots=0, seed=0, limit=0, too_long="refuse"):
    """A task's items with the examples before them.

    Args:
      run: `runs.Run`, whose tokenizer and positions say how much fits.
      protocol: a Protocol.
      splits: what the task's `read` gave.
      shots: examples before each item, FIT as many as there is room for; fewer where so many do not fit.
      seed: which examples are drawn, together with the item's number.
      limit: only the first so many items; 0: all.
      too_long: 'leave_out' items whose prompt does not fit without any example, too, or 'refuse' them.

    Returns:
      A list of Asked.

    Raises:
      UserError: a prompt does not fit, and by how much; there are too few examples; see `room`.
    """
    if protocol.kind == "perplexity" and shots:
        raise UserError(f"shots={shots}: whole texts are scored, with nothing before them; set shots to 0")
    train, space, made = splits.get("train", []), room(run, protocol), []
    for number, record in enumerate(splits["test"][: limit or None]):
        item = protocol.item(record)
        if protocol.kind == "perplexity":
            made.append(Asked(item, tuple(item.pairs), 0))
            continue
        wanted = MOST if shots == FIT else shots
        drawn = prompts.draw(train, record, wanted, seed, number, at_most=shots == FIT)
        drawn = [protocol.item(one) for one in drawn]
        longest = max(item.pairs, key=lambda pair: len(models.encode(run, "".join(pair))))

        def text(shown, pair=longest):
            read = prompts.compose(protocol, shown, pair[0])
            return read if protocol.kind == "generate" else read + pair[1]

        try:
            shown = prompts.fit(text, lambda text: len(models.encode(run, text)), space, drawn)
        except UserError as error:
            if too_long == "leave_out":
                continue
            raise UserError(f"item {number}: {error}, or set too_long=leave_out") from error
        pairs = tuple((prompts.compose(protocol, shown, context), target) for context, target in item.pairs)
        made.append(Asked(item, pairs, len(shown)))
    return made


def room(run, protocol):
    """How many tokens a prompt may have, with its target where that is read, too.

    Raises:
      UserError: what is to be written leaves no room for a prompt.
    """
    positions = run.model.config.positions
    if protocol.kind == "generate":
        if positions <= protocol.max_tokens:
            raise UserError(
                f"the {protocol.max_tokens} tokens that are to be written leave no room for a prompt in the {positions} "
                f"positions of {run.workdir}: {protocol.max_tokens - positions + 1} too many; take a model of more"
            )
        return positions - protocol.max_tokens
    return positions if "clm" in run.model.heads else positions - 2  # [CLS] and [SEP]


def answer(run, protocol, asked, *, batch_size=16, window=0, stride=0, seed=0):
    """Calls the model.

    Args:
      run, protocol: as for `compose`, which made `asked`.
      batch_size: rows that run together.
      window, stride: of perplexity, see `models.rolling`; 0: as its defaults.
      seed: of sampled texts.

    Returns:
      Answered.

    Raises:
      UserError: the run cannot do what the protocol asks: write, or score whole texts, without a causal head.
    """
    items = [one.item for one in asked]
    ask = functools.partial(KINDS[protocol.kind], run, protocol, asked, batch_size)
    if protocol.kind == "perplexity":
        totals = ask(window, stride)
        return Answered(items, totals, totals)
    if protocol.kind == "cloze":
        found = ask()
        return Answered(items, [0 if one.greedy else -1 for one in found], [one.total for one in found])
    return Answered(items, ask(seed) if protocol.kind == "generate" else ask(), [])


def measure(protocol, answered, keep=None):
    """The protocol's metrics by name, of all items or, with bool [N], of those that `keep` is true of; {} of none.

    What is measured for each unit of the original text says so: 'perplexity_per_word', 'bits_per_byte'.
    """
    chosen = range(len(answered.items)) if keep is None else np.flatnonzero(keep)
    if not len(chosen):
        return {}
    items, values = [answered.items[i] for i in chosen], {}
    for name in protocol.metrics:
        if name in scores.OF_LOG_LIKELIHOODS:
            (value,) = scores.evaluate([name], [answered.log_likelihoods[i] for i in chosen], items).values()
            values[f"{name}_per_{protocol.unit}" if protocol.unit else name] = value
        else:
            values |= scores.evaluate([name], [answered.predictions[i] for i in chosen], items)
    return values


def _choose(run, protocol, asked, batch_size):
    """The number of the likeliest choice, the first of equally likely ones."""
    score = models.scorer(run)
    pairs = [pair for one in asked for pair in one.pairs]
    found = score(run, pairs, batch_size=batch_size)
    values = np.array([one.total for one in found])
    if protocol.normalise == "tokens":
        values /= [one.tokens for one in found]
    elif protocol.normalise == "characters":
        values /= [len(target.strip()) for _, target in pairs]
    elif protocol.normalise == "unconditional":
        alone = [(protocol.answer_context, target) for _, target in pairs]
        values -= [one.total for one in score(run, alone, batch_size=batch_size)]
    ends = np.cumsum([len(one.pairs) for one in asked])
    return [int(part.argmax()) for part in np.split(values, ends[:-1])]


def _fill(run, protocol, asked, batch_size):
    """The LogLikelihood of each target, or of its last token."""
    pairs = [one.pairs[0] for one in asked]
    if not protocol.last_token:
        return models.scorer(run, of_words=True)(run, pairs, batch_size=batch_size)
    ids = [models.encode_pair(run, *pair) for pair in pairs]
    ids = [(context + target[:-1], target[-1:]) for context, target in ids]
    return models.token_log_likelihoods(run, ids, batch_size)


def _read_through(run, protocol, asked, batch_size, window, stride):
    del protocol
    texts = [one.pairs[0][1] for one in asked]
    return [one.total for one in models.rolling(run, texts, window or None, stride or None, batch_size)]


def _write(run, protocol, asked, batch_size, seed):
    """The texts, finished."""
    prompts = [models.encode(run, one.pairs[0][0]) for one in asked]
    options = dict(stop=protocol.stop, max_tokens=protocol.max_tokens, batch_size=batch_size)
    searched = dict(beams=protocol.beams, length_penalty=protocol.length_penalty)
    if protocol.stop_words:
        found = models.search_until(run, prompts, **options, **searched)
        words = [[protocol.finish(text) for text in texts] for texts in found]
        return [scores.first_content_word(of, protocol.stop_words) for of in words]
    if protocol.beams <= 1:
        searched = dict(top_k=protocol.top_k, temperature=1.0 if protocol.top_k > 1 else 0.0, seed=seed)
    texts = models.continue_until(run, prompts, **options, **searched)
    return [protocol.finish(text) for text in texts]


def require(run, protocol):
    """Raises UserError unless a run has the head that a protocol asks."""
    if protocol.kind == "choices":
        models.scorer(run)
    elif protocol.kind == "cloze" and not protocol.last_token:
        models.scorer(run, of_words=True)
    else:
        models.require_causal(run)


KINDS = {"choices": _choose, "cloze": _fill, "perplexity": _read_through, "generate": _write}
