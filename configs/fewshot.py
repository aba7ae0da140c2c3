"""Zero-, one- and few-shot evaluation of finished runs: nothing is trained.

    .venv/bin/python scripts/evaluate.py --config configs/fewshot.py:demo --config.runs=runs/demo-gpt2 --workdir runs/few
    ... --config configs/fewshot.py:gpt2 --config.runs=runs/gpt2 --config.folder=SETS     # SETS/lambada, SETS/ptb, ...
    ... --config configs/fewshot.py:lambada,hellaswag --config.shots=0,15                   # tasks by name
    ... --config configs/fewshot.py:lambada:last_word,lambada:gpt2_last_token               # two protocols side by side
    ... --show=2                                                   # the exact prompts of two items each, and nothing else

A variant is a suite of SUITES, or names of tasks (TASKS in ssl_jax/fewshot/tasks) with commas between them, each with a
protocol after a colon, or with all of its protocols. Several runs, of several sizes, are one figure.

`gpt2` is Table 3 and sections 3.2 to 3.8 of GPT-2's paper (Radford et al. 2019), nothing shown but where the paper does:
translation and questions have examples in their context. `gpt3` is what GPT-3's paper (Brown et al. 2020) evaluates
zero-, one- and few-shot; few is as many as fit the run's positions, which in the paper's 2,048 are 10 to 100, where
the paper takes a K of each task's own (its appendix G). `demo` needs no files.
"""

from ml_collections import ConfigDict

from ssl_jax.fewshot.tasks import TASKS


def of(*papers):
    """All TASK:PROTOCOL whose protocol is one of a paper's."""
    return tuple(f"{task}:{name}" for task, row in TASKS.items() for name in row.protocols if name.startswith(papers))


# suite -> tasks, shots.
SUITES = {
    "gpt2": (of("gpt2"), (0,)),
    "gpt3": (of("gpt3"), (0, 1, -1)),
    "demo": (("topic:unconditional", "title:title"), (0, 1, 2, 4, -1)),
}


def get_config(variant="demo"):
    tasks, shots = SUITES.get(variant, (tuple(variant.split(",")), (0, 1, -1)))
    return ConfigDict(
        dict(
            runs=(),  # folders of finished runs, ours or of transformers
            tasks=tasks,  # TASK or TASK:PROTOCOL
            shots=shots,  # examples before an item; -1: as many as fit, at most 100
            seeds=5,  # draws of the examples, from `seed` on
            seed=0,
            folder="",  # the sets' own files, in a folder for each task; what is not there comes from the run's data.root
            limit=0,  # only the first so many items; 0: all
            too_long="refuse",  # a prompt that does not fit without examples, too; 'leave_out': go on without the item
            batch_size=16,
            window=0,  # of perplexity: tokens that are read at once; 0: the run's positions
            stride=0,  # of perplexity: new tokens of each window; 0: all of it
            overlap=True,  # look for the items in the training text (13-grams)
        )
    )
