"""ELECTRA: Pre-training Text Encoders as Discriminators. Clark et al. 2020, https://arxiv.org/abs/2003.10555

    .venv/bin/python scripts/train.py --config configs/electra.py:small --workdir runs/electra-small

From the paper: sections 2 and 3 and appendix A. From google-research/electra (8a46635f), which settles the
rest: the masking with 85 % [MASK] and positions drawn with replacement (pretrain_helpers.py), at most
int((rate + .005) * length) of them (configure_pretraining.py), the generator's shape, the hidden layer of the
discriminator's head, the exact GELU (model/modeling.py), Adam without bias correction and the warm-up that multiplies
the decay (model/optimization.py), the packing of two segments without a label (build_pretraining_dataset.py).

Every objective of Table 5 and of the generator study takes a few flags, at any size:

    ELECTRA              (none)
    ELECTRA 15 %         --config.losses.rtd=0 --config.losses.rtd_masked=50
    Replace MLM          --config.losses.rtd=0 --config.losses.replaced_mlm=1
    All-Tokens MLM       --config.losses.rtd=0 --config.losses.all_tokens=1
    MLM only (BERT)      --config.losses.rtd=0 --config.generator.kind=none
    unigram generator    --config.losses.mlm=0 --config.generator.kind=unigram     (Figure 3; 'uniform' is the code's)
    tying                --config.generator.tying=none|embeddings|all              (section 3.2; same size, size=1)
    generator size       --config.generator.size=0.5                               (Figure 3)
    adversarial          --config.losses.mlm=0 --config.losses.adversarial=1       (appendix F)
    two-stage            --config.generator.first_stage=0.5 --config.generator.tying=none --config.generator.size=1

`release` is where the released code differs from the paper: a position drawn twice gets the mean of two sampled ids
(scatter_update); the loss is the mean of per-core means; gradients are clipped on each core before they are summed
(model/optimization.py); the text is packed once (build_pretraining_dataset.py), so that each epoch has the same pairs,
with new masks; and small is Small++, whose generator is as wide as the discriminator (README) and which is trained for
4 M steps.

Text: BooksCorpus and XLNet's data are unavailable: the default corpus is the demo's.

Sizes: small to large are the paper's; tiny, mini and medium have the shapes of BERT's miniatures (common.MINIATURES)
and small's recipe and embeddings; demo is ours (docs/demos.md). Parameters, discriminator without head, exact: small
13,483,008 (paper: 14M), base 108,891,648 (110M), large 334,092,288 (335M); all trained parameters, embeddings once:
14,196,219, 119,386,427, 354,655,291.

Published: small,release GLUE test 77.4, MNLI dev 81.3 (google-research/electra, README; its base and large were
trained for longer than the paper's). Ours: not run.
"""

from configs import common, demos
from ssl_jax.config import base

# Table 6; embeddings are as wide as the trunk, except in small.
SIZES = {
    **{name: shape | dict(embedding_size=128) for name, shape in common.MINIATURES.items()},
    "small": dict(layers=12, hidden_size=256, heads=4, embedding_size=128),
    "base": dict(layers=12, hidden_size=768, heads=12),
    "large": dict(layers=24, hidden_size=1024, heads=16),
    "demo": dict(layers=2, hidden_size=128, heads=4),
}
# Table 6: the generator's share of the width, mask rate, learning rate, batch, steps, length.
RECIPES = {
    **dict.fromkeys(common.MINIATURES, (1 / 4, 0.15, 5e-4, 128, 1_000_000, 128)),  # as small
    "small": (1 / 4, 0.15, 5e-4, 128, 1_000_000, 128),
    "base": (1 / 3, 0.15, 2e-4, 256, 766_000, 512),
    "large": (1 / 4, 0.25, 2e-4, 2048, 400_000, 512),
    "demo": (1 / 2, 0.15, 2e-3, 16, 5_000, 64),
}


def release(config, name):
    config.data.dupe_factor = 1
    config.generator.average_duplicates = True
    config.loss_average = config.optimizer.grad_clip_by = "device"
    if name == "small":
        config.generator.size = 1.0
        config.steps = 4_000_000


def get_config(variant="small"):
    name, changes = common.parse(variant, SIZES, dict(release=release, smoke=common.smoke))
    size, rate, learning_rate, batch_size, steps, length = RECIPES[name]
    config = base()
    config.update(
        dict(
            steps=steps,
            batch_size=batch_size,
            phases=dict(lengths=(length,)),
            model=dict(
                max_positions=512,
                type_vocab_size=2,
                norm="post",
                embedding_norm=True,
                norm_epsilon=1e-12,
                activation="gelu",
                dropout=0.1,
                attention_dropout=0.1,
                initializer_range=0.02,
                projection_initializer="glorot_uniform",  # TensorFlow's default, unchanged in the code
                **SIZES[name],
            ),
            generator=dict(kind="transformer", size=size, tying="embeddings"),
            losses=dict(mlm=1.0, rtd=50.0),
            corruption=dict(
                rate=rate,
                mask=0.85,
                random=0.0,
                with_replacement=True,
            ),
            data=dict(
                unlabelled="segments",
                short_seq_prob=0.05,
                tokenizer=dict(kind="wordpiece", vocab_size=30522, lowercase=True),  # BERT's
            ),
            optimizer=dict(
                name="bert_adam",
                learning_rate=learning_rate,
                schedule="linear_warmed",
                warmup=10_000,
                b1=0.9,
                b2=0.999,
                epsilon=1e-6,
                weight_decay=0.01,
                grad_clip_norm=1.0,
            ),
        )
    )
    return common.finish(config, f"electra:{variant}", name, demos.ELECTRA, changes)
