"""GPT-2: Language Models are Unsupervised Multitask Learners. Radford et al. 2019.

    .venv/bin/python scripts/train.py --config configs/gpt2.py:small --workdir runs/gpt2-small

https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf; section 2 is
the methods: GPT-1 with the norm moved to the input of each sub-layer, a final norm, residual layers' initial
weights scaled by 1/sqrt(N) for N residual layers (here 2 a layer, the usual reading), context 1024, batch 512,
byte-level BPE of 50,257. From openai/gpt-2 (9b63575e, src/model.py): epsilon 1e-5, the tanh GELU, sd 0.02 and 0.01 for
positions. Heads are the released hparams.json's.

Not reported: optimizer, schedule, learning rates ("tuned by hand"), steps, dropout. Here these are ours: the GPT-3
paper's optimizer (its appendix B) and its learning rate for the nearest size, 100,000 steps (52 G tokens), GPT-1's
dropout.

Sizes: small to xl are the paper's; tiny and mini have the shapes of BERT's miniatures (common.MINIATURES) and small's rate.

Parameters, exact: small 124,439,808 (paper: 117M), medium 354,823,168 (345M), large 774,030,080 (762M),
xl 1,557,611,200 (1542M); the repository's README says that the paper's counts were wrong.

WebText was not released: the default corpus is the demo's.

`release` is what the released code does and the paper does not: no scaling of the residual layers' start, no dropout.

The demo is a recipe of our own, about five minutes on two CPU cores: heads of layer 0 that start at the token itself and
the three before it (models/neighbours.py), which is what helped the demo of configs/bert.py most. 1,500 steps gave 5.02
nats held out, 4,500 give 4.34 (unigram loss 6.89); nothing else was tried.
"""

from configs import common, demos
from ssl_jax.config import base

SIZES = {
    **common.MINIATURES,
    "small": dict(layers=12, hidden_size=768, heads=12),
    "medium": dict(layers=24, hidden_size=1024, heads=16),
    "large": dict(layers=36, hidden_size=1280, heads=20),
    "xl": dict(layers=48, hidden_size=1600, heads=25),
    "demo": dict(layers=2, hidden_size=128, heads=4),
}
LEARNING_RATES = {"tiny": 6e-4, "mini": 6e-4, "small": 6e-4, "medium": 3e-4, "large": 2.5e-4, "xl": 2e-4, "demo": 2e-3}


def release(config, name):
    del name
    config.model.residual_scale = False
    config.model.dropout = config.model.attention_dropout = 0.0


def get_config(variant="small"):
    name, changes = common.parse(variant, SIZES, dict(release=release, smoke=common.smoke))
    config = base()
    config.update(
        dict(
            steps=100_000,
            batch_size=512,
            phases=dict(lengths=(1024,)),
            model=dict(
                positions=1024,
                causal=True,
                norm="pre",
                final_norm=True,
                norm_epsilon=1e-5,
                activation="gelu_tanh",
                dropout=0.1,
                attention_dropout=0.1,
                initializer="normal",
                initializer_range=0.02,
                position_range=0.01,
                residual_scale=True,
                **SIZES[name],
            ),
            losses=dict(clm=1.0),
            data=dict(examples="windows", tokenizer=dict(kind="byte_bpe", vocab_size=50257, lowercase=False)),
            optimizer=dict(
                name="adamw",
                learning_rate=LEARNING_RATES[name],
                schedule="cosine",
                warmup=0.01,
                floor=0.1,
                b1=0.9,
                b2=0.95,
                epsilon=1e-8,
                weight_decay=0.1,
                clip=1.0,
            ),
        )
    )
    return common.finish(config, f"gpt2:{variant}", name, demos.GPT2, changes)
