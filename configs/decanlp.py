"""decaNLP: The Natural Language Decathlon, Multitask Learning as Question Answering. McCann et al. 2018.
https://arxiv.org/abs/1806.08730

    .venv/bin/python scripts/train.py --config configs/decanlp.py:mqan --workdir runs/mqan \
        --config.questions.folders=squad=SQUAD,iwslt_en_de=IWSLT,...     # where each set's own files are
    ... --config configs/decanlp.py:mqan,anti          # SQuAD alone for the first 75,000 steps
    ... --config.questions.tasks=sst,woz_en            # any rows of tasks.ASKED
    ... --config configs/decanlp.py:gpt2-small         # any trunk in MQAN's place; bert-base, electra-small

Every task is a question about a context, with an answer in words; ten tasks take turns, a batch each (sections 2 and 4).

Networks: `mqan`, and the three that it was grown from: `s2s`, `self_attention`, `coattention` (section 3, models/mqan.py). A
causal trunk, `gpt2-SIZE`, reads question and context and writes the answer; an encoder, `bert-SIZE` or `electra-SIZE`,
points at it, in the context or among the classes that the question names, and tasks whose answers are in neither are not for
it: name others in questions.tasks.

From salesforce/decaNLP (043ab56c), which the paper leaves to it: width 200, two self-attention layers of three heads, inner
width 150, dropout 0.2 (arguments.py, models/); 50,000 words that can be generated, all others can be copied; Adam with 0.9,
0.98 and 1e-9, the rate d^-0.5 min(i^-0.5, i 800^-1.5), gradients clipped at 1 (train.py); batches of 9,000 tokens, where a
word of an answer counts as five (util.py); contexts of at most 400 words, which for CNN/DM are cut and for others left
out, answers of at most 50; lower case. Steps: README, 500,000 iterations.

`anti`, the anti-curriculum (section 4.2; README, jump_start): the first task alone, SQuAD, for 75,000 of the 500,000 steps.

`release`: it decodes otherwise than it is trained (multitask_question_answering_network.py, greedy): an answer's vectors are
multiplied by the root of the width, layer l reads what encoder layer l reads, and padding is seen.

Word vectors: --config.questions.vectors=glove.840B.300d.txt --config.questions.characters=charNgram.txt, side by side and not
trained. Without files they are trained, from normal values.

Ours: batches are padded to a few lengths, so that every shape is compiled once, and have as many rows as fit in 9,000 tokens of
that length; each example comes once an epoch of its task, as there. `demo` is ours (docs/demos.md).

Parameters, exact: mqan 14,469,902 without word vectors, 14,589,902 with CoVe (the paper states none).

Published, decaScore on the validation sets: S2S 513.6, MQAN 590.5 (QA first), 609.0 (sampling, CoVe). Ours: not run.
"""

import importlib

from configs import common, demos
from ssl_jax.config import base
from ssl_jax.errors import check_choice
from ssl_jax.tasks import TEN

SIZES = {
    "mqan": {},
    "coattention": dict(question_pointer=False),
    "self_attention": dict(coattention=False, question_pointer=False),
    "s2s": dict(self_attention=False, coattention=False, question_pointer=False),
    "demo": {},
}
# The papers whose trunks answer, and the loss that does it.
TRUNKS = {"gpt2": "clm", "gpt3": "clm", "bert": "span", "albert": "span", "electra": "span"}


def release(config, name):
    del name
    config.mqan.release_decoding = True


def anti(config, name):
    del name
    config.mixture.schedule = (f"0.15:{config.questions.tasks[0]}",)


def smoke(config, name):
    """Tasks of the demo corpus, a small network, steps in seconds."""
    del name
    config.steps = 20
    config.questions.update(
        tasks=("titles", "pronouns"),
        lengths=(64,),
        question_lengths=(40,),
        tokens=1024,
        multiple=16,
        max_answer=8,
        max_heldout=24,
    )
    schedule = ("0.25:titles",) if config.mixture.schedule else ()
    config.mixture.update(sampling="round_robin", weights=(), schedule=schedule)
    config.data.update(max_documents=300, heldout=0.1)
    config.data.tokenizer.vocab_size = 2000
    config.model.update(hidden_size=24, heads=3, layers=1, ffn_size=16)
    config.mqan.update(generative=500, vector_size=16)
    config.optimizer.warmup = 5.0
    config.run.update(log_every=5, evaluate_every=10, checkpoint_every=5)


def smoke_trunk(config, name):
    """As `smoke`, for another paper's trunk, on tasks whose answers it can point at."""
    common.smoke(config, name)
    length = 192 if config.losses.clm else 128
    config.data.tokenizer.vocab_size = 300
    config.model.max_positions = length
    config.questions.update(
        tasks=("titles", "pronouns"), lengths=(length,), tokens=16 * length, multiple=16, max_heldout=24
    )
    config.mixture.schedule = ("0.25:titles",) if config.mixture.schedule else ()


def trunk(name):
    """The config of another paper's trunk that answers: PAPER-SIZE."""
    paper, _, size = name.partition("-")
    check_choice(paper, (*SIZES, *TRUNKS), "network, or paper whose trunk answers,")
    config = importlib.import_module(f"configs.{paper}").get_config(size)
    config.losses.update({loss: 0.0 for loss in config.losses})
    config.losses[TRUNKS[paper]] = 1.0
    config.generator.update(kind="none", first_stage=0.0)
    config.corruption.rate = 0.0
    config.ramp.start = 0
    config.data.document_mask = config.data.static_masks = False
    config.optimizer.update(clock="steps", decay_until=1.0)
    longest = config.model.max_positions
    config.questions.lengths = tuple(length for length in (32, 64, 128, 256) if length < longest) + (min(longest, 512),)
    return config


def get_config(variant="mqan"):
    own = variant.split(",")[0]
    other = "-" in own  # a trunk of another paper
    name, changes = common.parse(
        variant, {own: {}} if other else SIZES, dict(release=release, anti=anti, smoke=smoke_trunk if other else smoke)
    )
    if other:
        config = trunk(name)
    else:
        config = base()
        config.update(
            dict(
                model=dict(
                    network="mqan",
                    hidden_size=200,
                    layers=2,
                    heads=3,
                    ffn_size=150,
                    max_positions=400,
                    dropout=0.2,
                ),
                mqan=SIZES[name],
                losses=dict(answer=1.0),
                corruption=dict(rate=0.0),
                data=dict(tokenizer=dict(kind="words", vocab_size=1_000_000)),
                optimizer=dict(
                    name="adamw",
                    learning_rate=(200 * 800) ** -0.5,  # at the peak, after 800 steps
                    schedule="inverse_sqrt",
                    warmup=800.0,
                    b1=0.9,
                    b2=0.98,
                    epsilon=1e-9,
                    weight_decay=0.0,
                    grad_clip_norm=1.0,
                ),
            )
        )
    config.steps = 500_000
    config.data.examples = "questions"
    config.questions.tasks = TEN
    config.evals = dict(heldout=dict(module="answers", split="heldout", max_batches=0, max_length=100))
    return common.finish(config, f"decanlp:{variant}", name, demos.DECANLP, changes)
