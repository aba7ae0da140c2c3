"""BERT: Pre-training of Deep Bidirectional Transformers. Devlin et al. 2018, https://arxiv.org/abs/1810.04805v2

    .venv/bin/python scripts/train.py --config configs/bert.py:base --workdir runs/bert-base
    ... --config.losses.nsp=0      # Table 5, No NSP: the same pairs, none of them with a random second text

From the paper: section 3.1 and appendix A.2. From google-research/bert (eedf5716), which settles what they leave
open: the form of Adam, its epsilon and exclusions (optimization.py), the count rule of masking and the sentence pairs
(create_pretraining_data.py), the initialisation and the tanh GELU (modeling.py).

`release` is what google-research/bert does where the paper says otherwise or nothing: the mean of per-core means
as the loss (CrossShardOptimizer), gradients clipped on each core before they are summed (optimization.py),
run_pretraining.py's default of at most 20 predictions, which at length 512 masks 3.9 %, not 15 %, and masks that are part
of the data, so that each of the 10 copies of the text keeps its own (create_pretraining_data.py, dupe_factor), where ours
are redrawn in every epoch.

`cased` keeps case, as section 5.3 needs; the vocabulary's size is that of the released cased models, the paper gives
none.

Text: the paper trains on BooksCorpus and English Wikipedia. BooksCorpus is no longer distributed, so the default corpus
is the demo's; `--config.data.corpus=wikipedia/20230601.en` is the closest.

Sizes: base and large are the paper's (section 3), tiny to medium Google's miniatures (Turc et al. 2019,
google-research/bert README), table6-* the size ablation of the paper's Table 6, demo ours (docs/demos.md). Parameters,
encoder and pooler, exact: base 109,482,240 (paper: 110M), large 335,141,888 (paper: 340M).

Published: GLUE test average 79.6 (base), MNLI 84.6 / 83.4 (base), 86.7 (large). Ours: not run.
"""

from configs import common, demos
from ssl_jax.config import base

SIZES = {
    "base": dict(layers=12, hidden_size=768, heads=12),
    "large": dict(layers=24, hidden_size=1024, heads=16),
    **common.MINIATURES,
    "table6-L3-H768-A12": dict(layers=3, hidden_size=768, heads=12),
    "table6-L6-H768-A3": dict(layers=6, hidden_size=768, heads=3),
    "table6-L6-H768-A12": dict(layers=6, hidden_size=768, heads=12),
    "table6-L12-H768-A12": dict(layers=12, hidden_size=768, heads=12),
    "table6-L12-H1024-A16": dict(layers=12, hidden_size=1024, heads=16),
    "table6-L24-H1024-A16": dict(layers=24, hidden_size=1024, heads=16),
    "demo": dict(layers=2, hidden_size=128, heads=4),
}


def release(config, name):
    del name
    config.data.static_masks = True
    config.loss_average = config.optimizer.grad_clip_by = "device"
    config.corruption.max_predictions = 20


def cased(config, name):
    del name
    config.data.tokenizer.update(lowercase=False, vocab_size=28996)


def get_config(variant="base"):
    name, changes = common.parse(variant, SIZES, dict(release=release, cased=cased, smoke=common.smoke))
    config = base()
    config.update(
        dict(
            steps=1_000_000,
            batch_size=256,
            phases=dict(lengths=(128, 512), shares=(0.9, 0.1)),  # A.2
            model=dict(
                max_positions=512,
                type_vocab_size=2,
                norm="post",
                embedding_norm=True,
                norm_epsilon=1e-12,
                activation="gelu_tanh",
                pooler="tanh",
                dropout=0.1,
                attention_dropout=0.1,
                initializer_range=0.02,
                **SIZES[name],
            ),
            losses=dict(mlm=1.0, nsp=1.0),
            corruption=dict(rate=0.15, mask=0.8, random=0.1),
            data=dict(tokenizer=dict(kind="wordpiece", vocab_size=30522, lowercase=True)),
            optimizer=dict(
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
    return common.finish(config, f"bert:{variant}", name, demos.BERT, changes)
