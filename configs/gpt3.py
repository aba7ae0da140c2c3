"""GPT-3: Language Models are Few-Shot Learners. Brown et al. 2020, https://arxiv.org/abs/2005.14165

    .venv/bin/python scripts/train.py --config configs/gpt3.py:small --workdir runs/gpt3-small
    .venv/bin/python scripts/describe.py --config configs/gpt3.py:175b

From the paper: section 2.1 and appendix B, GPT-2 with context 2048 and attention that is dense and locally banded in
turn; Adam .9, .95, 1e-8, decay 0.1, clip 1.0; 300 G tokens; warm-up over 375 M tokens, cosine to 10 % at 260 G; the
batch grows linearly in tokens from 32 k tokens over the first 4 to 12 G; windows are always full, documents are
divided by the end-of-text token and attention does not stop there. Nothing was released, so there is no `release`.

Ours, because it is not stated: the width of the bands and which layers have them (256 and every second one, the first
being dense, as in EleutherAI's GPT-Neo); sd, epsilon and norms (GPT-2's); dropout (none: less than an epoch is seen);
where the ramp ends for each size (4 G tokens up to 0.5M a batch, 8 G up to 1M, 12 G above).

Table 2.1 contradicts itself in two rows. `xl` has 24 heads of 128 and a width of 2048: here 16 heads, whose count,
1,315,723,264, is the one that fits Table D.1's 1,320 M. `13b` has 40 heads of 128 and a width of 5140: here 5120, whose
count, 12,853,386,240, fits Table D.1's 12,850 M. With the suffix `printed` all numbers are as printed: attention is
then 3072 wide in `xl` (1,517,123,584 parameters) and 5120 in `13b` (12,936,488,380).

Sizes: small to 175b are the paper's; tiny and mini have the shapes of BERT's miniatures (common.MINIATURES) and
small's recipe; demo is ours (docs/demos.md), and `few` is the demo with a context of 256 tokens, to leave room for
examples (docs/few-shot.md; --config.model.hidden_size=64 and others give its other sizes). Parameters, exact: small
125,226,240 (paper: 125M), medium 355,871,744 (350M), large 760,300,032 (760M), 2.7b 2,651,553,280, 6.7b
6,658,404,352, 175b 174,604,259,328. 2.7b and up scan over their layers.

Published, 175b: Story Cloze zero-shot 83.2, few-shot 87.7; HellaSwag few-shot 79.3 (section 3.1). Ours: not run.
"""

from configs import common, demos
from ssl_jax.config import base

# Table 2.1: the shape, the batch in sequences (0.5M tokens = 256 of 2048) and the learning rate.
SIZES = {
    **common.MINIATURES,
    "small": dict(layers=12, hidden_size=768, heads=12),
    "medium": dict(layers=24, hidden_size=1024, heads=16),
    "large": dict(layers=24, hidden_size=1536, heads=16),
    "xl": dict(layers=24, hidden_size=2048, heads=16),
    "2.7b": dict(layers=32, hidden_size=2560, heads=32),
    "6.7b": dict(layers=32, hidden_size=4096, heads=32),
    "13b": dict(layers=40, hidden_size=5120, heads=40),
    "175b": dict(layers=96, hidden_size=12288, heads=96),
    "demo": dict(layers=2, hidden_size=128, heads=4),
    "few": dict(layers=2, hidden_size=128, heads=4),
}
PRINTED = {"xl": dict(heads=24, head_size=128), "13b": dict(hidden_size=5140, head_size=128)}
# Batch in sequences, learning rate, and the tokens over which the batch grows.
RECIPES = {
    "tiny": (256, 6e-4, 4e9),  # as small
    "mini": (256, 6e-4, 4e9),
    "small": (256, 6e-4, 4e9),
    "medium": (256, 3e-4, 4e9),
    "large": (256, 2.5e-4, 4e9),
    "xl": (512, 2e-4, 8e9),
    "2.7b": (512, 1.6e-4, 8e9),
    "6.7b": (1024, 1.2e-4, 12e9),
    "13b": (1024, 1e-4, 12e9),
    "175b": (1568, 6e-5, 12e9),  # 3.2M tokens are 1,562.5 sequences: the next multiple of 16
    "demo": (16, 2e-3, 4e9),
    "few": (8, 2e-3, 4e9),
}
TOKENS = 300e9
CONTEXT = 2048
START = 16  # sequences: 32 k tokens


def printed(config, name):
    config.model.update(PRINTED.get(name, {}))


def training_steps(batch_size, share):
    """How many steps make TOKENS, when the batch grows over the first `share` of them as `plan_phases` says."""
    sizes = range(START, batch_size, START)
    per_example = share * sum(1 / size for size in sizes) / len(sizes) if sizes else 0
    return round(TOKENS / CONTEXT * (per_example + (1 - share) / batch_size))


def get_config(variant="small"):
    name, changes = common.parse(variant, SIZES, dict(printed=printed, smoke=common.smoke))
    batch_size, learning_rate, ramp = RECIPES[name]
    config = base()
    config.update(
        dict(
            steps=training_steps(batch_size, ramp / TOKENS),
            batch_size=batch_size,
            phases=dict(lengths=(CONTEXT,)),
            ramp=dict(start=START, share=ramp / TOKENS),
            model=dict(
                max_positions=CONTEXT,
                causal=True,
                local_window=256,
                norm="pre",
                final_norm=True,
                norm_epsilon=1e-5,
                activation="gelu_tanh",
                dropout=0.0,
                attention_dropout=0.0,
                initializer="normal",
                initializer_range=0.02,
                position_range=0.01,
                residual_scale=True,
                scan=name in ("2.7b", "6.7b", "13b", "175b"),
                remat=name in ("2.7b", "6.7b", "13b", "175b"),
                **SIZES[name],
            ),
            losses=dict(clm=1.0),
            data=dict(examples="windows", tokenizer=dict(kind="byte_bpe", vocab_size=50257, lowercase=False)),
            optimizer=dict(
                name="adamw",
                learning_rate=learning_rate,
                schedule="cosine",
                clock="tokens",
                warmup=375e6,
                decay_until=260e9 / TOKENS,
                end_lr_ratio=0.1,
                b1=0.9,
                b2=0.95,
                epsilon=1e-8,
                weight_decay=0.1,
                grad_clip_norm=1.0,
            ),
        )
    )
    return common.finish(config, f"gpt3:{variant}", name, demos.GPT3_FEW if name == "few" else demos.GPT3, changes)
