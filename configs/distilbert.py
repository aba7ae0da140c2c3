"""DistilBERT, a distilled version of BERT. Sanh et al. 2019, https://arxiv.org/abs/1910.01108

    .venv/bin/python scripts/train.py --config configs/distilbert.py:base --config.teacher.runs=runs/bert-base \
        --workdir runs/distilbert

A teacher is any finished run with the same tokenizer; with several, logits and states are averaged.

From the paper: sections 2 and 3. From huggingface/transformers, examples/research_projects/distillation, which
settles the rest: the weights 5, 2 and 1 of the README's command (4aa4342b; its example on several GPUs
has .33 each), the temperature, frequency-smoothed masking, Adam, clipping and schedule (train.py, distiller.py,
16074447), the layers 0, 2, 4, 7, 9 and 11 (extract_distilbert.py), sequences of one segment (lm_seqs_dataset.py). The
original draws masked positions over a whole batch, ours row by row (corruption.py). The original's config requests
sinusoidal positions, but the teacher's learned table is loaded over them. Dropout is on the embeddings, on the
attention probabilities and after the feed-forward network, but not after attention (modeling_distilbert.py).

Length: 3 epochs (train.py, n_epoch) of BERT's corpus, 3,300M words or, at 1.29 pieces a word, 4.26 G tokens:
3 x 4.26 G / (4096 x 512) = 6,093, here 6,000 steps. With BERT's uncased vocabulary, Wikipedia's lead sections have
1.30 pieces a word and 19th-century books 1.28. Another corpus of N tokens takes --config.steps = 3 N / (4096 x 512);
scripts/train.py prints N, and how many epochs the run is, before its first step. The first 5 % are warm-up
(warmup_prop), 300 steps. `gpt2` has the same length, as nothing else is known.

`release` is where that code's README differs: a batch of 5 x 50 accumulated (train.py's defaults; the README's example
on one device sets neither), and so 3 x 4.26 G / (250 x 512), 100,000 steps. In fine-tuning (configs/finetune.py), where
the paper has no recipe, its classes are those of DistilBertForSequenceClassification: dense, ReLU, a dropout of 0.2
(seq_classif_dropout), dense.

Ablations of the paper's Table 4 are flags:

    no L_ce              --config.losses.soft_targets=0
    no L_cos             --config.losses.cosine=0
    no L_mlm             --config.losses.mlm=0
    random start         --config.init.run=""
    other layers         --config.init.layers=0,1,2,3,4,5
    uniform masking      --config.corruption.frequency_smoothing=0

`squad` is the second distillation step of "DistilBERT (D)" in Table 2, from a BERT fine-tuned on SQuAD, whose span
logits are soft targets in addition to the answers themselves:

    TRAIN=".venv/bin/python scripts/train.py"
    $TRAIN --config configs/finetune.py:bert-base,squad --config.init.run=runs/bert-base --workdir runs/teacher
    $TRAIN --config configs/distilbert.py:base,squad --config.init.run=runs/distilbert \
        --config.teacher.runs=runs/teacher --workdir runs/distilbert-squad

Its settings are the defaults of run_squad_w_distillation.py (huggingface/transformers, 1001bb00), batches of 8 for one
device; dropout before the spans is as in the trunk (DistilBertForQuestionAnswering); padding is excluded from the
soft targets (`objectives.soft_span`).

`alone` is the same student without any teacher, for comparison. `gpt2` is DistilGPT-2, for which the repository gives
the shape (training_configs/distilgpt2.json) but no command: causal, on windows of text, with `clm` in place of
`mlm`.

Text: BooksCorpus is unavailable: the default corpus is the demo's.

Sizes: base and gpt2 are the paper's and the repository's; tiny to medium are students of configs/bert.py's sizes of
the same names, with half their layers; demo distils configs/bert.py:demo, two layers, into one (docs/demos.md).
Parameters, exact: base 66,362,880 (paper: 66M), with the masked-LM head 66,985,530; gpt2 81,912,576 (README: 82M).

Published: GLUE dev macro-score 77.0, its teacher 79.5; gpt2 WikiText-103 perplexity 21.1 after fine-tuning, its
teacher 16.3 (README of the distillation project). Ours: not run.
"""

from configs import common, demos, gpt2
from ssl_jax.config import base

SIZES = {
    # Half the layers of BERT's miniatures of these names.
    **{name: shape | dict(layers=shape["layers"] // 2) for name, shape in common.MINIATURES.items()},
    "base": dict(layers=6, hidden_size=768, heads=12),
    "gpt2": dict(layers=6, hidden_size=768, heads=12),
    "demo": dict(layers=1, hidden_size=128, heads=4),
}
TEACHER_LAYERS = {name: tuple(range(0, shape["layers"], 2)) for name, shape in common.MINIATURES.items()} | {
    "base": (0, 2, 4, 7, 9, 11),
    "gpt2": (0, 2, 4, 7, 9, 11),
    "demo": (0,),
}  # from 0


def squad(config, name):
    """Task distillation on SQuAD: half soft targets, half the answers, 3 epochs (run_squad_w_distillation.py)."""
    del name
    config.losses.update({loss: 0.0 for loss in config.losses})
    config.update(
        dict(
            batch_size=8,
            phases=dict(lengths=(min(384, config.model.max_positions),)),
            losses=dict(soft_span=0.5, span=0.5),
            init=dict(run="", layers=(), drop=("mlm",), fresh=("span",)),  # run: the student, not its teacher
            corruption=dict(rate=0.0, frequency_smoothing=0.0),
            data=dict(examples="task"),
            task=dict(name="squad", epochs=3.0),
            evals=dict(heldout=dict(module="task")),
            optimizer=dict(learning_rate=5e-5, warmup=0.0, b2=0.999, epsilon=1e-8, grad_clip_norm=1.0),
        )
    )


def release(config, name):
    del name
    if config.data.examples != "task":
        config.update(dict(batch_size=250, steps=100_000))


def get_config(variant="base"):
    suffixes = dict(squad=squad, release=release, alone=common.alone, smoke=common.smoke)
    name, changes = common.parse(variant, SIZES, suffixes)
    causal = name == "gpt2"
    config = gpt2.get_config("small") if causal else base()
    if not causal:
        config.update(
            dict(
                phases=dict(lengths=(512,)),
                model=dict(
                    max_positions=512,
                    type_vocab_size=0,
                    norm="post",
                    embedding_norm=True,
                    norm_epsilon=1e-12,
                    activation="gelu",
                    pooler="none",
                    dropout=0.1,
                    attention_dropout=0.1,
                    dropped_sublayers="ffn",
                    initializer="normal",
                    initializer_range=0.02,
                ),
                corruption=dict(rate=0.15, mask=0.8, random=0.1, frequency_smoothing=0.7),
                data=dict(examples="single", tokenizer=dict(kind="wordpiece", vocab_size=30522, lowercase=True)),
            )
        )
    config.update(
        dict(
            steps=6_000,  # 3 epochs
            batch_size=4096,  # section 3: up to 4K examples, by accumulation
            model=SIZES[name],
            losses={"soft_targets": 5.0, "clm" if causal else "mlm": 2.0, "cosine": 1.0},
            teacher=dict(temperature=2.0),
            init=dict(run="teacher", layers=TEACHER_LAYERS[name], drop=("embeddings/segment", "pooler", "pair")),
            optimizer=dict(
                name="adamw",
                learning_rate=5e-4,
                schedule="linear_peaked",
                warmup=0.05,
                end_lr_ratio=0.0,
                b1=0.9,
                b2=0.98,
                epsilon=1e-6,
                weight_decay=0.0,
                grad_clip_norm=5.0,
            ),
        )
    )
    return common.finish(config, f"distilbert:{variant}", name, demos.DISTILBERT, changes)
