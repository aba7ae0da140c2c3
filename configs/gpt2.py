"""GPT-2: Language Models are Unsupervised Multitask Learners. Radford et al. 2019.
https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf

    .venv/bin/python scripts/train.py --config configs/gpt2.py:small --workdir runs/gpt2-small

From the paper: section 2, GPT-1 with the norm moved to the input of each sub-layer, a final norm, residual layers'
initial weights scaled by 1/sqrt(N) for N residual layers (here 2 a layer, the usual reading), context 1024, batch
512, byte-level BPE of 50,257. From openai/gpt-2 (9b63575e, src/model.py): epsilon 1e-5, the tanh GELU, sd 0.02 and
0.01 for positions. Heads are the released hparams.json's.

Ours: optimizer, schedule, learning rates ("tuned by hand"), steps and dropout are not reported. Here they are the
GPT-3 paper's optimizer (its appendix B) and its learning rate for the nearest size, 100,000 steps (52 G tokens),
GPT-1's dropout.

`release` is what the released code does and the paper does not: no scaling of the residual layers' start, no dropout.

Text: WebText was not released: the default corpus is the demo's.

Sizes: small to xl are the paper's; tiny and mini have the shapes of BERT's miniatures (common.MINIATURES) and small's
rate; demo is ours (docs/demos.md). Parameters, exact: small 124,439,808 (paper: 117M), medium 354,823,168 (345M),
large 774,030,080 (762M), xl 1,557,611,200 (1542M); the repository's README says that the paper's counts were wrong.

Published, zero-shot: LAMBADA accuracy 45.99, 55.48, 60.12, 63.24; WikiText-103 perplexity 37.50, 26.37, 22.05, 17.48
(Table 3, small to xl; scripts/evaluate.py with configs/fewshot.py:gpt2). Ours: not run.
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
                max_positions=1024,
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
                end_lr_ratio=0.1,
                b1=0.9,
                b2=0.95,
                epsilon=1e-8,
                weight_decay=0.1,
                grad_clip_norm=1.0,
            ),
        )
    )
    return common.finish(config, f"gpt2:{variant}", name, demos.GPT2, changes)
