"""Zero-, one- and few-shot evaluation of finished runs: nothing is trained.

    .venv/bin/python scripts/evaluate.py --config configs/fewshot.py:demo --config.runs=runs/demo-gpt2 --workdir runs/few
    ... --config configs/fewshot.py:gpt2 --config.runs=runs/gpt2 --config.folder=SETS     # SETS/lambada, SETS/ptb, ...
    ... --config configs/fewshot.py:lambada,hellaswag --config.shots=0,15                   # tasks by name
    ... --config configs/fewshot.py:lambada:last_word,lambada:gpt2_last_token               # two prompts side by side
    ... --show=2                                                   # the exact prompts of two items each, and nothing else

A variant is a suite of SUITES, or names of tasks (PROMPTED in ssl_jax/tasks) with commas between them, each with a
prompt after a colon, or with all of its prompts. Several runs, of several sizes, are one figure.

`gpt1` is Figure 2, right, of GPT-1's paper (Radford et al. 2018, section 5), without examples: CoLA, SST-2, RACE,
Winograd schemas. `gpt2` is Table 3 and sections 3.2 to 3.6 of GPT-2's paper (Radford et al. 2019), without examples;
`gpt2_shown` has those of sections 3.7 and 3.8, translation and questions, with as many as fit. `gpt3` is what GPT-3's
paper (Brown et al. 2020) evaluates with one and few examples; few is each task's own K of Table H.1, or as many as fit
the run's positions. `gpt3_zero` is the same without any, LAMBADA and translation in the form that they have there. Both
report the mean of all accuracies (figure 1.3), `superglue` SuperGLUE's score (Table 3.8, on the dev sets). `demo` needs
no files.
"""

from ml_collections import ConfigDict

from ssl_jax.tasks import PROMPTED


def of(*names, without=()):
    """TASK:PROMPT of all tasks, less `without`, for the first of the prompts that each has."""
    chosen = {task: next((name for name in names if name in row.prompts), None) for task, row in PROMPTED.items()}
    return tuple(f"{task}:{name}" for task, name in chosen.items() if name and task not in without)


TRANSLATION = ("en_fr", "fr_en", "en_de", "de_en", "en_ro", "ro_en")
SUPERGLUE = ("boolq", "cb", "copa", "rte", "wic", "wsc", "multirc", "record")
# suite -> tasks, shots, average.
SUITES = {
    "gpt1": (of("gpt1"), (0,), ""),
    "gpt2": (
        ("lambada:gpt2_last_token", "lambada:gpt2_stop_words", "winograd:full", "cnn_dailymail:gpt2_no_hint")
        + of("gpt2", without=("naturalqs", *TRANSLATION)),
        (0,),
        "",
    ),
    "gpt2_shown": (("naturalqs:gpt2", "en_fr:gpt2", "fr_en:gpt2"), (-1,), ""),
    "gpt3": (of("gpt3"), (1, -2), "accuracies"),
    "gpt3_zero": (
        ("lambada:last_word", "ptb:gpt2") + of("gpt3_zero_shot", "gpt3", without=("lambada",)),
        (0,),
        "accuracies",
    ),
    "superglue": (tuple(f"{task}:gpt3" for task in SUPERGLUE), (0, 1, -2), "metrics"),
    "demo": (("topic:unconditional", "title:title"), (0, 1, 2, 4, -1), ""),
}


def get_config(variant="demo"):
    tasks, shots, average = SUITES.get(variant, (tuple(variant.split(",")), (0, 1, -1), ""))
    return ConfigDict(
        dict(
            runs=(),  # folders of finished runs, ours or of transformers
            tasks=tasks,  # TASK or TASK:PROMPT
            shots=shots,  # examples before an item; -1: as many as fit, at most 100; -2: GPT-3's K of each task
            average=average,  # over the tasks: 'metrics', each task's mean; 'accuracies', only those; '': none
            seeds=5,  # draws of the examples, from `seed` on
            seed=0,
            folder="",  # the sets' own files, in a folder for each task; what is not there comes from the run's data.root
            limit=0,  # only the first so many items; 0: all
            too_long="refuse",  # a prompt that does not fit without examples, too; 'leave_out': go on without the item
            batch_size=16,
            window=0,  # of perplexity: tokens that are read at once; 0: the run's positions
            stride=0,  # of perplexity: new tokens of each window; 0: all of it
            overlap=True,  # look for the items in the training text (n-grams of 8 to 13 words)
        )
    )
