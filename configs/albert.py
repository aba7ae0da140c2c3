"""ALBERT: A Lite BERT for Self-supervised Learning of Language Representations. Lan et al. 2019.
https://arxiv.org/abs/1909.11942v6

    .venv/bin/python scripts/train.py --config configs/albert.py:base --workdir runs/albert-base
    ... --config.model.share=attention --config.losses.sop=0 --config.model.embedding_size=768   # Tables 3 to 5
    ... --config.evals.nsp.module=mean --config.evals.nsp.pairs=nsp    # Table 5: next sentences asked of the head of order
    ... --config configs/albert.py:large --config.model.layers=1 --workdir runs/albert-1            # Table 11: the first
    ... --config configs/albert.py:large --config.model.layers=3 --config.init.run=runs/albert-1 --workdir runs/albert-3

From the paper: sections 3 and 4.1, BERT with all parameters shared over the layers, embeddings of 128 projected to
the trunk's width, sentence-order prediction, n-gram masking, LAMB at 0.00176, batch 4096, 125,000 steps, length 512;
a lower-cased unigram tokenizer of 30,000. From google-research/albert (b772393d), which settles what they leave open:
LAMB without bias correction and with a trust ratio of 1 for norms and biases (lamb_optimizer.py), clip 1.0
(optimization.py), the rules of n-grams and of order prediction, where a chunk of one sentence gets a random second
segment as a negative (create_pretraining_data.py). Without a loss on pairs ("none" in Table 5, losses.sop=0) the same
chunks are cut, all in order and none with a random second segment.

`v2` is the second version of the released weights (README): no dropout, 10 M steps for base, 3 M for the others, with
v1's 3,125 of warm-up, as all that it does not mention (their larger corpus cannot be had). xxlarge has no dropout in v1
either (modeling.py's default; the paper removes it for its last runs, section 4.8).

Table 11 has 1, 3, 6, 12, 24 and 48 layers of `large`; each from 3 on starts from the depth before (appendix A.1), whose
parameters it has, since layers share: the last command, for each row with the run before. Whether its optimizer's
state was taken, too, and for how many steps each was trained, is not said; here a new run of 125,000.

`release` is what the released code does and the paper does not: at most 20 predictions a sequence, the default and
the README's command, which at length 512 masks 3.9 % (run_pretraining.py); words of n-grams that also begin at each
punctuation mark and each piece with a digit or a letter beyond a to z (create_pretraining_data.py, _is_start_piece_sp),
where the paper has complete words (section 4.1); 16 heads for xlarge where the paper's rule, H / 64, gives 32; the mean
of per-core means as the loss; gradients clipped on each core (optimization.py); masks that are part of the data, so that
each of the 40 copies of the text keeps its own (create_pretraining_data.py, dupe_factor), where ours are redrawn in
every epoch.

Table 5's accuracies that the loss does not train take an evaluation, as above: `nsp/sop_accuracy` in result.json
is how often the head that losses.sop trains tells a random second segment from the true one. With `sop` there and
losses.nsp trained, it is how often that head recognises exchanged ones. The paper does not say how it asked: here the
trained classifier is read as it is, as both tasks call pairs that stand as in the text 0. Nor does it say whose head
"none" was asked with (52.4 and 53.3 there, about chance): here there is none.

Text: BookCorpus is no longer distributed: the default corpus is the demo's.

Sizes: base to xxlarge are the paper's, tiny to medium have the shapes of BERT's miniatures (common.MINIATURES), demo
is ours (docs/demos.md). Parameters, encoder and pooler, exact: base 11,683,584 (paper: 12M), large 17,683,968 (18M),
xlarge 58,724,864 (60M), xxlarge 222,595,584 (235M in its tables, 233M in its text; neither is what its shapes give).

Published, average of SQuAD 1.1 and 2.0, MNLI, SST-2 and RACE: base 80.1, large 82.4, xlarge 85.5; `v2` 82.3, 85.7,
87.9, xxlarge 90.9 (google-research/albert, README). Ours: not run.
"""

from configs import common, demos
from ssl_jax.config import base

# Table 1; heads are H / 64 (section 3).
SIZES = {
    **common.MINIATURES,
    "base": dict(layers=12, hidden_size=768, heads=12),
    "large": dict(layers=24, hidden_size=1024, heads=16),
    "xlarge": dict(layers=24, hidden_size=2048, heads=32),
    "xxlarge": dict(layers=12, hidden_size=4096, heads=64),
    "demo": dict(layers=2, hidden_size=128, heads=4),
}


def release(config, name):
    config.data.static_masks = True
    config.corruption.words = "split"
    config.corruption.max_predictions = 20
    config.loss_average = config.optimizer.grad_clip_by = "device"
    if name == "xlarge":
        config.model.heads = 16


def v2(config, name):
    config.steps = 10_000_000 if name == "base" else 3_000_000
    config.model.dropout = config.model.attention_dropout = 0.0


def get_config(variant="base"):
    name, changes = common.parse(variant, SIZES, dict(release=release, v2=v2, smoke=common.smoke))
    dropout = 0.0 if name == "xxlarge" else 0.1
    config = base()
    config.update(
        dict(
            steps=125_000,
            batch_size=4096,
            phases=dict(lengths=(512,)),
            model=dict(
                embedding_size=128,
                max_positions=512,
                type_vocab_size=2,
                share="all",
                norm="post",
                embedding_norm=True,
                norm_epsilon=1e-12,
                activation="gelu_tanh",
                pooler="tanh",
                dropout=dropout,
                attention_dropout=dropout,
                initializer_range=0.02,
                **SIZES[name],
            ),
            losses=dict(mlm=1.0, sop=1.0),
            corruption=dict(rate=0.15, mask=0.8, random=0.1, unit="ngram", max_ngram=3),
            data=dict(dupe_factor=40, tokenizer=dict(kind="unigram", vocab_size=30000, lowercase=True)),
            optimizer=dict(
                name="lamb",
                learning_rate=0.00176,
                schedule="linear",
                warmup=3125,
                b1=0.9,
                b2=0.999,
                epsilon=1e-6,
                weight_decay=0.01,
                grad_clip_norm=1.0,
            ),
        )
    )
    return common.finish(config, f"albert:{variant}", name, demos.ALBERT, changes)
