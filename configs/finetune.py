"""Fine-tuning on a task, for every paper's model. BERT's recipe: Devlin et al. 2018, sections 4 and A.3.

    .venv/bin/python scripts/train.py --config configs/finetune.py:bert-base,topics --workdir runs/topics
    ... --config configs/finetune.py:bert-base,jsonl --config.task.folder=FOLDER    # or mnli, squad, race, ...

A variant is PAPER-SIZE,TASK: a size of configs/PAPER.py and a row of TASKS in ssl_jax/data/tasks; suffixes after
them are the paper's, such as `smoke`.

Section 4.1: a dense layer on the pooled vector, batch 32, 3 epochs, the best of 5e-5, 4e-5, 3e-5 and 2e-5 as the
learning rate (here the last one, `--config.optimizer.learning_rate` sets another). A.3: everything else, dropout
among it, as in pre-training. Left open there and from run_classifier.py (google-research/bert, eedf5716): warm-up
over the first 10 %, decay to 0, length 128, nothing masked. Dropout is the paper's own, 0.1 in BERT.

The demos keep their batch of 16 and go through the examples as often. On topics, BERT's demo, held out and with 12
classes (the largest has 18 %), one seed each: pre-trained 74.2 % at 5e-4, 72.9 % at 2e-4; with a trunk that nothing
trained before 59.5 % at 5e-4, 42.5 % at 1e-3.

An encoder reads its first token, a causal model its last one; the tokenizer needs [PAD], [CLS] and [SEP].
"""

import importlib
import pkgutil

import configs
from configs import common
from ssl_jax.data import tasks
from ssl_jax.errors import check_choice

PAPERS = [m.name for m in pkgutil.iter_modules(configs.__path__) if m.name not in ("common", "finetune")]

# What belongs to no trunk, of any run to start from; generators and a student's projection among it.
HEADS = (
    "mlm", "clm", "pair", "replaced", "restored", "copied", "fit", "choice", "token_classes", "span",
    "generator_embeddings", "generator_encoder", "generator_mlm", "generator_baseline",
)  # fmt: skip

# What differs for the papers' demos.
DEMO = {
    "batch_size": 16,
    "optimizer.learning_rate": 5e-4,
    "log_every": 100,
    "evaluate_every": 500,
    "checkpoint_every": 500,
}


def smoke(config, name):
    """What the paper's `smoke` shrinks is shrunk already; the number of steps is fixed, too."""
    del name
    config.batch_size = 8
    config.task.epochs = 0.0
    config.optimizer.learning_rate = 1e-3


def read_kind(config, kind):
    """The kind's head, new, in the place of the classes; spans and token labels are read without a pooler."""
    if kind in ("classification", "regression"):
        return
    head = {"choices": "choice", "spans": "span", "token_labels": "token_classes"}[kind]
    pooled = kind == "choices"
    config.init_drop = ("classifier", *(() if pooled else ("pooler",)), *(name for name in HEADS if name != head))
    config.init_anew = (head, *(name for name in config.init_anew if name == "pooler" and pooled))
    if not pooled:
        config.model.pooler = "none"


def get_config(variant="bert-base,topics"):
    model, *rest = variant.split(",")
    task, *suffixes = rest or ["topics"]
    paper, _, size = model.partition("-")
    check_choice(paper, PAPERS, "paper")
    check_choice(task, tasks.TASKS, "task")
    kind = tasks.TASKS[task].kind
    config = importlib.import_module(f"configs.{paper}").get_config(",".join([size, *suffixes]))
    config.losses.update({name: 0.0 for name in config.losses})
    config.update(
        dict(
            batch_size=32,
            phases=dict(lengths=(min(128, config.model.positions),), shares=(1.0,)),
            ramp=dict(start=0),
            model=dict(pooler="tanh"),
            generator=dict(kind="none", first_stage=0.0),
            teacher=dict(runs=()),
            init_from="",  # a student's start is not its fine-tuning's
            init_layers=(),
            init_drop=HEADS,
            init_anew=("classifier",) if config.model.pooler != "none" else ("classifier", "pooler"),
            losses={tasks.LOSSES[kind]: 1.0},
            corruption=dict(rate=0.0),
            data=dict(examples="task", borders=False),
            task=dict(name=task, epochs=3.0),
            optimizer=dict(
                name="bert_adam",
                learning_rate=2e-5,
                schedule="linear",
                clock="steps",
                warmup=0.1,
                decay_until=1.0,
                floor=0.0,
                b1=0.9,
                b2=0.999,
                epsilon=1e-6,
                weight_decay=0.01,
                clip=1.0,
            ),
        )
    )
    read_kind(config, kind)
    changes = [smoke] if "smoke" in suffixes else []
    return common.finish(config, size, DEMO, changes)
