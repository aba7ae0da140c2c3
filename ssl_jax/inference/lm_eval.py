"""A run as a model of EleutherAI's lm-evaluation-harness, under the name `ssl_jax`.

`import ssl_jax.inference.lm_eval` registers it, for `lm_eval.simple_evaluate(model="ssl_jax", model_args="workdir=W")`.
The command `lm_eval` does not discover models of other packages (0.4.13 has no entry points for them), but it imports
what its task files name before it builds the model. So the task files in configs/harness, whose records come from
`questions`, import this module, with or without the harness's own tasks; for only the latter, `scripts/harness.py` is
the same command with this import first. Needs the extra `harness`, but neither torch nor transformers.
"""

from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs

from ssl_jax import tasks
from ssl_jax.errors import UserError, check_choice
from ssl_jax.inference import scoring
from ssl_jax.load import load_run, read_config

# What a task's `generation_kwargs` may contain -> the option of `scoring.continue_until`.
OPTIONS = {
    "until": "stop",
    "max_gen_toks": "max_tokens",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "num_beams": "beams",
    "length_penalty": "length_penalty",
}


def questions(task, prompt, workdir, **others):
    """The records of a multiple-choice task, for `custom_dataset` in the harness's task files (configs/harness).

    Args:
      task, prompt: a multiple-choice task that needs no files of its own, and one of its prompts.
      workdir: from --model_args: the run whose corpus and held-out articles are used.
      **others: from --model_args and --metadata, ignored.

    Returns:
      datasets.DatasetDict: 'train' and 'heldout', records with `context`, `choices` without their leading space,
      and `gold`.
    """
    del others
    import datasets  # slow to import, and only needed for these tasks

    records = tasks.records(task, tasks.source_of(read_config(workdir)))
    items = {split: map(tasks.TASKS[task].prompts[prompt].item, found) for split, found in records.items()}
    return datasets.DatasetDict({
        split: datasets.Dataset.from_list([
            {"context": one.context, "choices": [target[1:] for target in one.targets], "gold": one.gold}
            for one in found
        ]) for split, found in items.items()
    })  # fmt: skip


@register_model("ssl_jax")
class HarnessModel(LM):
    """The harness's three request types, answered by a run.

    Encoders answer only the first, with the scores of `scoring.scorer`.

    Args:
      workdir: the run's folder, or a transformers folder.
      batch_size: texts per forward pass, which only changes results by rounding. 1, the command's default, means
        `scoring`'s default.
      max_gen_toks: number of tokens to generate if the task does not say; 256, as in the harness's own models.
      device: a torch device name, which the command passes to every model; JAX chooses its own (JAX_PLATFORMS).

    Raises:
      UserError: as `load.load_run`; batch_size is not a number.
    """

    def __init__(self, workdir, batch_size=1, max_gen_toks=256, device=None):
        del device
        super().__init__()
        self.run = load_run(workdir)
        if not str(batch_size).isdecimal() or int(batch_size) < 1:
            raise UserError(f"batch_size={batch_size}: a number from 1; the largest that fits is not looked for")
        self.together = {} if int(batch_size) == 1 else {"batch_size": int(batch_size)}
        self.max_gen_toks = max_gen_toks

    def loglikelihood(self, requests):
        """`scoring.log_likelihoods`, or an encoder's counterpart; list of (nats, greedy)."""
        pairs = [request.args for request in requests]
        found = scoring.scorer(self.run)(self.run, pairs, **self.together)
        return [(one.total, one.greedy) for one in found]

    def loglikelihood_rolling(self, requests):
        """`scoring.rolling` over windows of all positions, as the harness cuts them; list of nats."""
        texts = [text for (text,) in (request.args for request in requests)]
        return [one.total for one in scoring.rolling(self.run, texts, **self.together)]

    def generate_until(self, requests):
        """`scoring.continue_until`, greedy unless the task samples; list of str.

        A context that leaves no room for generation is truncated on the left, as in the harness's own models.

        Raises:
          UserError: the task has an unknown option; no room is left for a context.
        """
        together = {}  # options -> requests
        for number, request in enumerate(requests):
            together.setdefault(str(sorted(request.args[1].items())), []).append(number)
        texts = [None] * len(requests)
        for numbers in together.values():
            options = self.options(requests[numbers[0]].args[1])
            room = self.run.model.config.max_positions - options["max_tokens"]
            if room < 1:
                raise UserError(
                    f"max_gen_toks={options['max_tokens']} leaves no room for a context in the model's "
                    f"{self.run.model.config.max_positions} positions: set --gen_kwargs max_gen_toks=... or "
                    "--model_args ...,max_gen_toks=..."
                )
            prompts = [scoring.encode(self.run, requests[number].args[0])[-room:] for number in numbers]
            written = scoring.continue_until(self.run, prompts, **self.together, **options)
            for number, text in zip(numbers, written, strict=True):
                texts[number] = text
        return texts

    def options(self, asked):
        """`scoring.continue_until`'s options for a task's `generation_kwargs`."""
        options = dict(normalize_gen_kwargs(asked, self.max_gen_toks))
        sampled = options.pop("do_sample")
        for name in options:
            check_choice(name, OPTIONS, "generation_kwargs")
        if sampled:
            options.setdefault("temperature", 1.0)
        else:
            options = {name: value for name, value in options.items() if name not in ("temperature", "top_k", "top_p")}
        if options.get("num_beams") == 1:  # in the harness, no beam search
            del options["num_beams"]
        options["until"] = [one for one in options["until"] if one]
        return {OPTIONS[name]: value for name, value in options.items()}
