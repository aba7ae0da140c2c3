"""TinyBERT: Distilling BERT for Natural Language Understanding. Jiao et al. 2019, https://arxiv.org/abs/1909.10351v5

Each stage is a run:

    TRAIN=".venv/bin/python scripts/train.py"
    $TRAIN --config configs/tinybert.py:4-312 --config.teacher.runs=runs/bert-base --workdir runs/general
    $TRAIN --config configs/finetune.py:bert-base,topics --config.init.run=runs/bert-base --workdir runs/teacher
    .venv/bin/python scripts/augment.py --config configs/finetune.py:bert-base,topics --masked_lm runs/bert-base \
        --vectors glove.6B.300d.txt --output runs/augmented.jsonl
    $TRAIN --config configs/tinybert.py:4-312,intermediate --config.teacher.runs=runs/teacher \
        --config.init.run=runs/general --config.task.augmented=runs/augmented.jsonl --workdir runs/intermediate
    $TRAIN --config configs/tinybert.py:4-312,prediction --config.teacher.runs=runs/teacher \
        --config.init.run=runs/intermediate --config.task.augmented=runs/augmented.jsonl --workdir runs/tinybert

A stage on one of the paper's tasks takes the task's name as a suffix, which sets its length, epochs and targets:
`4-312,intermediate,mnli`, `4-312,prediction,squad`. The prediction stage takes a teacher's classes
(`soft_labels`); on SQuAD its span logits (`soft_span`; appendix B, on the original data). On STS-B it takes the gold
scores, as in the released code, and no teacher: equation 10's cross-entropy of one logit is always 0. Augmented
copies have the score of their original.

The ablations of Tables 2 to 4 leave a stage out or are flags of each stage:

    w/o GD               --config.init.run=""       (of the intermediate stage)
    w/o TD               runs/general fine-tuned: configs/finetune.py
    w/o DA               --config.task.augmented=""
    w/o Embd, Attn, Hidn --config.losses.embedding=0, attention, hidden
    w/o Pred             --config.losses.soft_labels=0 --config.losses.classify=1
    top, bottom, a list  --config.teacher.layer_map=top, bottom, 3,6,9,12

From the paper: section 3 for the losses and the two stages, section 4.2 for the settings, which for general
distillation are BERT's, so that its warm-up is 10,000 steps. From huawei-noah/Pretrained-Language-Model, TinyBERT
(0598f02d), which settles the rest: general distillation reads BERT's next-sentence pairs, half of them with a random
second text (pregenerate_training_data.py), unmasked; the intermediate stage has a constant rate, the prediction stage
10 % of warm-up (task_distill.py).

The prediction stage has a batch and a rate chosen on the development set, the sweep `prediction` below:

    .venv/bin/python scripts/sweep.py --config configs/tinybert.py:4-312,prediction,mnli --sweep prediction \
        --config.teacher.runs=runs/teacher --config.init.run=runs/intermediate --workdir runs/tinybert --workers 1

`release` is where that code differs from the paper. In general distillation: a rate of 5e-5 with 10 % of warm-up; one
token of every text masked (masked_lm_prob is 0, but create_masked_lm_predictions chooses at least one). In all stages:
one projection with a bias for embeddings and layers; the gradient clipped tensor by tensor; a teacher that keeps its
dropout, since nobody calls eval() (teacher.dropout); means that count padding (teacher.count_padding); class logits
from ReLU(pooled); a prediction loss divided by the number of classes (teacher.mean_over_classes). Not followed: it
draws a random second text from documents in proportion to their sentences, ours from all alike, as BERT.

BERT4-PKD and BERT6-PKD of Tables 1 and 6 are configs/finetune.py:bert-base,mnli,pkd4 and pkd6.

`mlm` is our own stage, for students meant to fill blanks: after the general stage, equation 10's loss on the
predictions of the masked-LM head. `alone` removes the teacher from any stage: hard targets replace soft ones.

Sizes: 4-312 and 6-768 are the paper's; tiny, mini and small have the shapes of BERT's miniatures (common.MINIATURES);
demo distils configs/bert.py:demo, 2 layers of 128, into one layer of 64 (docs/demos.md). Parameters, encoder and
pooler, exact: 4-312 14,350,248 (paper: 14.5M), 6-768 66,955,008 (67.0M); with the release's projection 14,590,632 and
67,545,600.

Published, 4-312: MNLI test 82.5 / 81.8; above 96.8 % of its teacher on GLUE. Ours: not run.
"""

import functools

from configs import common, demos
from ssl_jax import tasks
from ssl_jax.config import base
from ssl_jax.errors import UserError
from ssl_jax.sweeps.points import product

SIZES = {
    **{name: common.MINIATURES[name] for name in ("tiny", "mini", "small")},
    "4-312": dict(layers=4, hidden_size=312, heads=12, ffn_size=1200),
    "6-768": dict(layers=6, hidden_size=768, heads=12, ffn_size=3072),
    "demo": dict(layers=1, hidden_size=64, heads=4, ffn_size=256),
}

# Section 4.2, the prediction stage.
SWEEPS = {"prediction": product({"optimizer.learning_rate": (1e-5, 2e-5, 3e-5), "batch_size": (16, 32)})}

# Section 4.2 by task: epochs of the intermediate stage, and length. It gives neither for SQuAD: the length is BERT's.
TASKS = {
    "cola": (50.0, 64),
    "sst2": (20.0, 64),
    "mrpc": (20.0, 128),
    "stsb": (20.0, 128),
    "qqp": (10.0, 128),
    "mnli": (10.0, 128),
    "qnli": (10.0, 128),
    "rte": (20.0, 128),
    "squad": (20.0, 384),
    "squad2": (20.0, 384),
}


def intermediate(config, name):
    """Task distillation, first step (section 4.2): 20 epochs, or for some tasks as in TASKS."""
    config.update(
        dict(
            batch_size=32,
            phases=dict(lengths=(64,)),  # for single sentences
            data=dict(examples="task"),
            task=dict(epochs=20.0),
            optimizer=dict(learning_rate=5e-5, schedule="constant", warmup=0.0),
        )
    )
    if name == "demo":
        config.update(dict(batch_size=16, task=dict(epochs=3.0), optimizer=dict(learning_rate=1e-3)))


def prediction(config, name):
    """Task distillation, second step: the prediction layer; rate and batch (16 or 32) were chosen on the dev set."""
    intermediate(config, name)
    config.losses.update(attention=0.0, hidden=0.0, embedding=0.0, soft_labels=1.0)
    config.update(dict(init=dict(drop=("fit",), fresh=("classifier",))))
    config.update(dict(task=dict(epochs=3.0), optimizer=dict(learning_rate=3e-5, schedule="linear_peaked", warmup=0.1)))
    if name == "demo":
        config.optimizer.learning_rate = 5e-4


def on_task(config, name, *, task):
    """Applies the settings of one of the paper's tasks to the stage before it."""
    del name
    if config.data.examples != "task":
        raise UserError(f"a task follows its stage: 4-312,intermediate,{task} or 4-312,prediction,{task}")
    epochs, length = TASKS[task]
    kind = tasks.TASKS[task].kind
    config.task.name = task
    config.phases.lengths = (min(length, config.model.max_positions),)
    if not config.losses.soft_labels:
        config.task.epochs = epochs
        return
    config.evals.heldout.module = "task"
    if kind == "spans":
        config.losses.update(soft_labels=0.0, soft_span=1.0)
        config.model.pooler = "none"
        config.task.dropout = 0.0  # as BERT's
        config.update(dict(init=dict(drop=("fit", "pooler"), fresh=("span",))))
        return
    if kind == "regression":
        config.losses.update(soft_labels=0.0, regress=1.0)
        config.teacher.runs = ()


def mlm(config, name):
    config.losses.update(attention=0.0, hidden=0.0, embedding=0.0, soft_predictions=1.0)
    config.update(dict(init=dict(drop=("fit",), fresh=("mlm",))))
    config.corruption.update(rate=0.15, max_predictions=0)
    if name == "demo":
        config.update(dict(steps=1500, corruption=dict(rate=demos.BERT["corruption.rate"])))


def release(config, name):
    del name
    config.teacher.update(projection="one", dropout=True, count_padding=True, mean_over_classes=True)
    config.task.activation = "relu"
    config.optimizer.grad_clip_by = "tensor"
    if config.data.examples != "task":
        config.optimizer.update(learning_rate=5e-5, schedule="linear_peaked", warmup=0.1)
        if not config.corruption.rate:
            config.corruption.update(rate=0.15, max_predictions=1)  # one token at any rate


def get_config(variant="4-312"):
    suffixes = dict(
        intermediate=intermediate,
        prediction=prediction,
        mlm=mlm,
        release=release,
        alone=common.alone,
        smoke=common.smoke,
        **{task: functools.partial(on_task, task=task) for task in TASKS},
    )
    name, changes = common.parse(variant, SIZES, suffixes)
    config = base()
    config.update(
        dict(
            steps=230_000,  # 3 epochs of 2,500M words (as many tokens at least) in batches of 256 x 128
            batch_size=256,
            phases=dict(lengths=(128,)),
            model=dict(
                max_positions=512,
                type_vocab_size=2,
                norm="post",
                embedding_norm=True,
                norm_epsilon=1e-12,
                activation="gelu",
                pooler="tanh",
                dropout=0.1,
                attention_dropout=0.1,
                initializer="normal",
                initializer_range=0.02,
                **SIZES[name],
            ),
            losses=dict(attention=1.0, hidden=1.0, embedding=1.0),
            teacher=dict(layer_map="uniform", projection="two", hidden_size=768, temperature=1.0),
            corruption=dict(rate=0.0),
            data=dict(unlabelled="nsp", tokenizer=dict(kind="wordpiece", vocab_size=30522, lowercase=True)),
            optimizer=dict(  # section 4.2: as BERT's
                name="bert_adam",
                learning_rate=1e-4,
                schedule="linear",
                warmup=10_000,
                b1=0.9,
                b2=0.999,
                epsilon=1e-6,
                weight_decay=0.01,
                grad_clip_norm=1.0,
            ),
        )
    )
    return common.finish(config, f"tinybert:{variant}", name, demos.TINYBERT, changes)
