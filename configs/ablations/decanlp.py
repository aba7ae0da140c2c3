"""decaNLP's ablation (McCann et al. 2018, section 4.2): four networks and the anti-curriculum, all tasks jointly.

    .venv/bin/python scripts/sweep.py --config configs/ablations/decanlp.py:multitask,mini --workdir runs/decanlp

Smaller scales have tasks that need no files: two of the demo corpus, dialogues and pronouns composed for them; `score` is
the mean of their metrics. Other tasks, and where they are, are flags of every row:

    ... --config.train.questions.tasks=sst,woz_en,mwsc --config.train.questions.folders=sst=SST,woz_en=WOZ,mwsc=MWSC

Numbers with the status 'memory' could not be read again; the ten of a row add up to its decaScore.
"""

from configs import ablations, decanlp
from configs.ablations import percent, published, source
from ssl_jax import tasks
from ssl_jax.sweeps.tables import Claim, Column, Row, Stage, Table

NAMES = ("SQuAD", "IWSLT", "CNN/DM", "MNLI", "SST", "QA-SRL", "QA-ZRE", "WOZ", "WikiSQL", "MWSC")
# The first one is what the anti-curriculum begins with: as SQuAD, its answers are copied from the context.
OWN = ("titles", "topics", "dialogue", "pronouns")
MINI = {"steps": 900, "questions.tasks": OWN, "mixture.sampling": "round_robin", "mixture.weights": ()}
SMALL = {
    "steps": 20_000,
    "questions.tasks": OWN,
    "questions.lengths": (64, 128),
    "questions.question_lengths": (40,),
    "data.tokenizer.vocab_size": 30_000,
}
MQAN, ANTI = "+ question pointer (MQAN)", "+ anti-curriculum"


def multitask(scale):
    """S2S, with self-attention, with coattention, with the question pointer, with SQuAD first."""
    variant = {"paper": "mqan", "small": "mqan", "mini": "demo", "smoke": "mqan,smoke"}[scale]
    config = decanlp.get_config(variant)
    config.update_from_flattened_dict({"mini": MINI, "small": SMALL}.get(scale, {}))
    names = NAMES if scale == "paper" else config.questions.tasks
    columns = [
        percent(name, "train", f"{task}_{tasks.ASKED[task].question.metric}")
        for name, task in zip(names, config.questions.tasks, strict=True)
    ]
    total = Column("decaScore", "train", "decascore") if scale == "paper" else percent("score", "train", "score")
    changes = {
        "S2S": "s2s",
        "+ self-attention": "self_attention",
        "+ coattention": "coattention",
        MQAN: "mqan",
    }
    rows = [
        Row(name, {f"mqan.{key}": value for key, value in decanlp.SIZES[size].items()})
        for name, size in changes.items()
    ]
    rows.append(Row(ANTI, {"mixture.schedule": (f"0.15:{config.questions.tasks[0]}",)}))
    return Table(
        "decaNLP: networks and the anti-curriculum, multitask",
        stages={"train": Stage(config)}, rows=tuple(rows), columns=(total, *columns), reference=MQAN,
        claims=(
            Claim("+ self-attention", "S2S", total.name, 1, text="self-attention helps (4.2: +32.8)"),
            Claim(MQAN, "+ coattention", total.name, 1, text="the question pointer helps (4.2: +28.9)"),
            Claim(ANTI, MQAN, total.name, 1, text="SQuAD first helps (4.2: +9.0)"),
        ),
        seeds={"paper": 1, "small": 3, "mini": 5, "smoke": 2}[scale],
        published=published("decanlp-table-multitask"), source=source("decanlp-table-multitask"),
        hypothesis="" if scale == "paper" else (
            "Topics are named by the question, so without its pointer they have to be generated; with two thousand words that is "
            "no harder, and the question pointer is not expected to show. Titles and dialogues need words of the context, which "
            "all networks copy. Self-attention is not expected to show in runs this short either. Titles first: the copying that "
            "dialogues need is learned earlier, at 15 % fewer steps for them: no difference above 2 points. Pronouns: chance."
        ),
    )  # fmt: skip


TABLES = {"multitask": multitask}


def get_sweep(variant="multitask"):
    return ablations.choose(variant, TABLES)


def get_config(variant="multitask"):
    return ablations.blocks(get_sweep(variant))
