"""Asks a model a task's items, untrained: examples are drawn, prompts composed, the model called, answers scored.

`config.evals` names it for a run in training, e.g. `evals.lambada = dict(module="fewshot", task="lambada", shots=0)`;
evaluate.py asks finished runs with it.
"""

import functools
from typing import NamedTuple

import numpy as np

from ssl_jax import metrics, tasks
from ssl_jax.errors import UserError, check_choice
from ssl_jax.evaluators import FIT, PAPER, prompts
from ssl_jax.inference import scoring
from ssl_jax.runs import Run
from ssl_jax.tasks.base import Item

WHOLE = ("perplexity", "threshold")  # kinds of prompts that score a whole text, with nothing before it
MOST = 100  # GPT-3, section 2.4: 10 to 100 fit its context


class Evaluator:
    """Asks the held-out items of one task by one of its prompts."""

    def __init__(self, exp, programs, options, records=None):
        """
        Args:
          exp: an `Experiment` or a `Run`.
          programs: unused: prompts have no fixed shape.
          options: `evaluators.FewShot`.
          records: as `tasks.records` returns them, if they have been read.

        Raises:
          UserError: no such task or prompt; its files are missing or malformed; the model lacks the head; an item does
            not fit; there are too few examples.
        """
        task = options.task
        check_choice(task, tasks.PROMPTED, "task of an evaluation")
        known = tasks.TASKS[task].prompts
        self.name = options.prompt or next(iter(known))
        check_choice(self.name, known, f"prompt of task {task!r}")
        self.exp, self.task, self.prompt = exp, task, known[self.name]
        self.options, self.at_end = options, options.at_end
        self.records = tasks.records(task, tasks.source_of(exp.config, options.folder)) if records is None else records
        require(exp, self.prompt)
        if self.prompt.kind == "threshold" and not self.records["train"]:
            raise UserError(f"{task} ({self.name}): the threshold is chosen on training examples, and there are none")
        if not self.compose(0):
            raise UserError(f"no item of {task} fits the model's {exp.model.config.max_positions} positions")
        self.compose(options.shots, limit=1)  # the first item tells whether there are so many examples

    def run(self, params, length, folder=None):
        """Yields (name, value) of the prompt's metrics; writes nothing."""
        del length, folder
        answered = self.answer(self.exp.devices.plain(params), self.asked)
        yield from measure(self.prompt, answered).items()

    @functools.cached_property
    def asked(self):
        """The composed items, which are the same in every evaluation."""
        return self.compose(self.options.shots)

    def compose(self, shots, seed=None, limit=None):
        """`compose` of the task's records, PAPER its own number of examples; errors name the task."""
        if shots == PAPER:
            shots = tasks.TASKS[self.task].shots
            if not shots and self.prompt.kind != "perplexity":
                raise UserError(f"{self.task}: GPT-3's Table H.1 has no number of examples for it; set shots to one")
        seed, limit = (self.options.seed if seed is None else seed), (self.options.limit if limit is None else limit)
        try:
            return compose(
                self.exp, self.prompt, self.records, shots=shots, seed=seed, limit=limit, too_long=self.options.too_long
            )
        except UserError as error:
            raise UserError(f"{self.task} ({self.name}): {error}") from error

    def answer(self, params, asked, seed=None):
        """`answer` of these parameters, on one device or as the devices hold them."""
        exp = self.exp
        run = Run(None, exp.config, exp.model, params, exp.tokenizer, exp.vocabulary)
        options = self.options
        how = dict(batch_size=options.batch_size, window=options.window, stride=options.stride)
        if self.prompt.kind == "threshold":
            how["train"] = compose(run, self.prompt, {"heldout": self.records["train"]})
        return answer(run, self.prompt, asked, **how, seed=options.seed if seed is None else seed)


class Asked(NamedTuple):
    """An item as the model reads it.

    Attributes:
      item: the Item.
      pairs: (everything that is read before, target) of each choice; one for other kinds.
      shown: how many solved examples precede it.
    """

    item: Item
    pairs: tuple
    shown: int


class Answered(NamedTuple):
    """A model's answers to a task's items.

    Attributes:
      items: N Items.
      predictions: [N], see metrics.of_items.
      log_likelihoods: [N] float, nats, for 'cloze' and 'perplexity', of 'threshold' a token's mean, and of the texts that
        a `confident` prompt sorts; for others ().
    """

    items: list[Item]
    predictions: list
    log_likelihoods: list


def compose(run, prompt, records, *, shots=0, seed=0, limit=0, too_long="refuse"):
    """A task's items with the examples before them.

    Args:
      run: a `Run` or `Experiment`, whose tokenizer and positions say how much fits.
      prompt: a Prompt.
      records: 'heldout' -> those to ask; 'train' -> those to draw examples from.
      shots: examples before each item, FIT as many as fit; fewer where so many do not fit.
      seed: which examples are drawn, together with the item's number.
      limit: only the first so many items; 0: all.
      too_long: 'leave_out' items whose prompt does not fit even without examples, or 'refuse' them.

    Returns:
      A list of Asked.

    Raises:
      UserError: a prompt does not fit, and by how much; there are too few examples; see `room`.
    """
    if prompt.kind in WHOLE and shots:
        raise UserError(f"shots={shots}: whole texts are scored, with nothing before them; set shots to 0")
    train, space, asked = records.get("train", []), room(run, prompt), []
    if prompt.shows:
        train = list(filter(prompt.shows, train))
    for number, record in enumerate(records["heldout"][: limit or None]):
        item = prompt.item(record)
        if prompt.kind in WHOLE:
            asked.append(Asked(item, tuple(item.pairs), 0))
            continue
        wanted = MOST if shots == FIT else shots
        drawn = prompts.draw(train, record, wanted, seed, 0 if prompt.same else number, at_most=shots == FIT)
        drawn = [prompt.item(one) for one in drawn]
        longest = max(item.pairs, key=lambda pair: len(scoring.encode(run, "".join(pair))))

        def text(shown, pair=longest):
            read = prompts.compose(prompt, shown, pair[0])
            return read if prompt.kind == "generate" else read + pair[1]

        try:
            shown = prompts.fit(text, lambda text: len(scoring.encode(run, text)), space, drawn)
        except UserError as error:
            if too_long == "leave_out":
                continue
            raise UserError(f"item {number}: {error}, or set too_long=leave_out") from error
        pairs = tuple((prompts.compose(prompt, shown, context), target) for context, target in item.pairs)
        asked.append(Asked(item, pairs, len(shown)))
    return asked


def room(run, prompt):
    """How many tokens a composed prompt may have, including its target where that is read, too.

    Raises:
      UserError: the text to write leaves no room for a prompt.
    """
    positions = run.model.config.max_positions
    if prompt.kind == "generate":
        if positions <= prompt.max_tokens:
            raise UserError(
                f"the {prompt.max_tokens} tokens to write leave no room for a prompt in the model's {positions} "
                f"positions: {prompt.max_tokens - positions + 1} too many; take a model with more"
            )
        return positions - prompt.max_tokens
    return positions if "clm" in run.model.heads else positions - 2  # [CLS] and [SEP]


def answer(run, prompt, asked, *, batch_size=16, window=0, stride=0, seed=0, train=()):
    """Calls the model.

    Args:
      run, prompt: as for `compose`, which returned `asked`.
      batch_size: rows that run together.
      window, stride: for whole texts, see `scoring.rolling`; 0: its defaults.
      seed: of sampled texts.
      train: Asked of training examples, on which a 'threshold' is chosen.

    Returns:
      Answered.

    Raises:
      UserError: the run cannot do what the prompt asks: write, or score whole texts, without a causal head.
    """
    items = [one.item for one in asked]
    ask = functools.partial(KINDS[prompt.kind], run, prompt, asked, batch_size)
    if prompt.kind == "perplexity":
        totals = [one.total for one in ask(window, stride)]
        return Answered(items, totals, totals)
    if prompt.kind == "threshold":
        return Answered(items, *ask(window, stride, train))
    if prompt.kind == "cloze":
        scored = ask()
        return Answered(items, [0 if one.greedy else -1 for one in scored], [one.total for one in scored])
    if prompt.kind == "choices":
        return Answered(items, ask(), [])
    texts, likelihoods = ask(seed), []
    if prompt.confident:  # P(text and its end), so that a beginning of a longer answer is not the likelier one
        pairs = [(one.pairs[0][0], f" {text}{prompt.stop[0]}") for one, text in zip(asked, texts, strict=True)]
        likelihoods = [one.total for one in scoring.log_likelihoods(run, pairs, batch_size)]
    return Answered(items, texts, likelihoods)


def measure(prompt, answered, keep=None):
    """The prompt's metrics by name, of all items or, with bool [N], of those where `keep` is true; {} of none.

    Metrics per unit of the original text say so: 'perplexity_per_word', 'bits_per_byte'; those of a baseline and of the
    surest items, too: 'lede3_rouge1', 'exact_of_surest'.
    """
    chosen = range(len(answered.items)) if keep is None else np.flatnonzero(keep)
    if not len(chosen):
        return {}
    items, values = [answered.items[i] for i in chosen], {}
    for name in prompt.metrics:
        if name in metrics.OF_LOG_LIKELIHOODS:
            (value,) = metrics.of_items([name], [answered.log_likelihoods[i] for i in chosen], items).values()
            values[f"{name}_per_{prompt.unit}" if prompt.unit else name] = value
        else:
            values |= metrics.of_items([name], [answered.predictions[i] for i in chosen], items)
    for name, write in prompt.baselines.items():
        texts = [write(item, np.random.default_rng(number)) for number, item in zip(chosen, items, strict=True)]
        found = metrics.of_items(prompt.metrics, texts, items)
        values |= {f"{name}_{metric}": value for metric, value in found.items()}
    if prompt.confident:
        order = sorted(chosen, key=lambda i: -answered.log_likelihoods[i])
        surest = order[: max(1, round(prompt.confident * len(order)))]
        found = metrics.of_items(
            prompt.metrics, [answered.predictions[i] for i in surest], [answered.items[i] for i in surest]
        )
        values |= {f"{metric}_of_surest": value for metric, value in found.items()}
    return values


def _choose(run, prompt, asked, batch_size):
    """The number of the likeliest choice, the first of equally likely ones."""
    score = scoring.scorer(run)
    pairs = [pair for one in asked for pair in one.pairs]
    scored = score(run, pairs, batch_size=batch_size)
    values = np.array([one.total for one in scored])
    if prompt.normalise == "tokens":
        values /= [one.tokens for one in scored]
    elif prompt.normalise == "characters":
        values /= [len(target.strip()) for _, target in pairs]
    elif prompt.normalise == "unconditional":
        alone = [(prompt.answer_context, target) for _, target in pairs]
        values -= [one.total for one in score(run, alone, batch_size=batch_size)]
    ends = np.cumsum([len(one.pairs) for one in asked])
    return [int(part.argmax()) for part in np.split(values, ends[:-1])]


def _fill(run, prompt, asked, batch_size):
    """The LogLikelihood of each target, or of its last token."""
    pairs = [one.pairs[0] for one in asked]
    if not prompt.last_token:
        return scoring.scorer(run, of_words=True)(run, pairs, batch_size=batch_size)
    ids = [scoring.encode_pair(run, *pair) for pair in pairs]
    ids = [(context + target[:-1], target[-1:]) for context, target in ids]
    return scoring.token_log_likelihoods(run, ids, batch_size)


def _read_through(run, prompt, asked, batch_size, window, stride):
    del prompt
    texts = [one.pairs[0][1] for one in asked]
    return scoring.rolling(run, texts, window or None, stride or None, batch_size)


def _classify(run, prompt, asked, batch_size, window, stride, train):
    """The class of each text, and its tokens' mean log-likelihood."""
    found = _read_through(run, prompt, [*asked, *train], batch_size, window, stride)
    means = np.array([one.total / max(one.tokens, 1) for one in found])
    threshold = metrics.best_threshold(means[len(asked) :], [one.item.gold for one in train])
    means = means[: len(asked)]
    return (means > threshold).astype(int).tolist(), means.tolist()


def _write(run, prompt, asked, batch_size, seed):
    """The texts, finished."""
    contexts = [scoring.encode(run, one.pairs[0][0]) for one in asked]
    options = dict(stop=prompt.stop, max_tokens=prompt.max_tokens, batch_size=batch_size)
    search = dict(beams=prompt.beams, length_penalty=prompt.length_penalty)
    if prompt.stop_words:
        found = scoring.search_until(run, contexts, **options, **search)
        words = [[prompt.finish(text) for text in texts] for texts in found]
        return [first_content_word(best, prompt.stop_words) for best in words]
    if prompt.beams <= 1:
        search = dict(top_k=prompt.top_k, temperature=1.0 if prompt.top_k > 1 else 0.0, seed=seed)
    texts = scoring.continue_until(run, contexts, **options, **search)
    return [prompt.finish(text) for text in texts]


def first_content_word(words, stop_words):
    """The first of words, likeliest first, that is no stop word; the likeliest where all are (GPT-2, section 3.3).

    Args:
      words: list of str, not empty.
      stop_words: set of str in lower case.
    """
    return next((word for word in words if word and word.lower() not in stop_words), words[0])


def require(run, prompt):
    """Raises UserError unless a run has the head that a prompt asks."""
    if prompt.kind == "choices":
        scoring.scorer(run)
    elif prompt.kind == "cloze" and not prompt.last_token:
        scoring.scorer(run, of_words=True)
    else:
        scoring.require_causal(run)


KINDS = {"choices": _choose, "cloze": _fill, "perplexity": _read_through, "threshold": _classify, "generate": _write}
