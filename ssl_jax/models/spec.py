"""Model specification from a config: trunk, heads and generator, and the checks that they fit together.

Importing this does not import JAX, so a config is checked before JAX is loaded.
"""

import dataclasses

from ssl_jax.errors import UserError, check_choice
from ssl_jax.objectives import OBJECTIVES, trained
from ssl_jax.options import (
    ABOVE_0,
    BOOL,
    DEEPEST,
    DROPOUT,
    SHARE,
    WIDEST,
    check,
    number,
    one_of,
    option,
    several,
    whole,
)
from ssl_jax.varying import largest

# Names in `transformer.ACTIVATIONS`, and the kinds of `heads.Pooler` and `heads.Features` ('': the trunk's output).
ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "tanh", "none")
POOLERS = ("none", "plain", "tanh", "relu", "gelu")
FEATURES = ("", "embeddings", "last", "second_to_last", "sum_last_four", "weighted_sum_last_four", "concat_last_four",
            "weighted_sum_all")  # fmt: skip
INITIALIZERS = (
    "matrices",
    "glorot_uniform",
)  # of a layer outside the blocks: as their matrices, or TensorFlow's default
PROJECTIONS = ("two", "one", "each", "none")  # of `heads.Projection`
# The parts of `Block` whose parameters layers may share (ALBERT, section 3.1); a norm goes with its sub-layer.
SHARED = {
    "none": (),
    "attention": ("attention", "attention_norm"),
    "ffn": ("ffn", "ffn_norm"),
    "all": ("attention", "attention_norm", "ffn", "ffn_norm"),
}


@dataclasses.dataclass(frozen=True)
class Trunk:
    """What a trunk is."""

    BLOCK = "model"

    network: str = option(
        "transformer", one_of("transformer", "mqan"), "'mqan': decaNLP's question answering network (models/mqan.py)"
    )
    vocab_size: int = option(0, whole(1, WIDEST), "one number with data.tokenizer.vocab_size")
    layers: int = option(12, whole(1, DEEPEST), "how many blocks")
    hidden_size: int = option(768, whole(1, WIDEST), "the width of the states")
    heads: int = option(12, whole(1, WIDEST), "of attention")
    head_size: int = option(0, whole(0, WIDEST), "0: hidden size / heads")
    ffn_size: int = option(0, whole(0, WIDEST), "0: four times the hidden size")
    embedding_size: int = option(
        0, whole(0, WIDEST), "0: the hidden size; otherwise the sum of embeddings is projected to it"
    )
    max_positions: int = option(512, whole(1, WIDEST), "the longest sequence")
    type_vocab_size: int = option(0, whole(0, WIDEST), "rows of the segment table; 0: none")
    causal: bool = option(False, BOOL, "each position sees itself and what is before it")
    local_window: int = option(
        0, whole(0), "every second layer, from the second on, sees the last so many positions alone; 0: all see all"
    )
    lstm: int = option(0, whole(0, WIDEST), "units of one LSTM in place of the blocks (GPT-1, Table 5); 0: Transformer")
    share: str = option(
        "none",
        one_of(*SHARED),
        "what layers share: 'none', 'attention', 'ffn' (each with its norm) or 'all'",
    )
    share_groups: int = option(
        1, whole(1, DEEPEST), "layers fall into so many groups, one after the other, that share within themselves"
    )
    norm: str = option("post", one_of("post", "pre"), "'post': LN(x + f(x)), the original; 'pre': x + f(LN(x))")
    embedding_norm: bool = option(False, BOOL, "a norm behind the embeddings")
    final_norm: bool = option(False, BOOL, "a norm behind the last layer")
    norm_epsilon: float = option(1e-5, number(0), "added to a norm's variance")
    activation: str = option(
        "gelu_tanh",
        one_of(*ACTIVATIONS),
        "of the feed-forward networks: 'gelu' (erf), 'gelu_tanh', 'relu' or 'tanh'",
    )
    pooler: str = option(
        "none",
        one_of(*POOLERS),
        "what heads of a whole text read, see `heads.Pooler`; 'none': there are no such heads",
    )
    dropout: float = option(0.1, DROPOUT, "after the embeddings and after the sub-layers")
    attention_dropout: float = option(0.1, DROPOUT, "on the attention probabilities")
    attention: str = option(
        "plain",
        one_of("plain", "fused"),
        "'fused': in training, one kernel that keeps no [S, S] scores (cuDNN's, on a GPU in bfloat16); it has no dropout",
    )
    dropped_sublayers: str = option(
        "both",
        one_of("both", "ffn"),
        "'both': `dropout` after attention and after the feed-forward network; 'ffn': after that alone (DistilBERT)",
    )
    dropped_embeddings: str = option(
        "sum",
        one_of("sum", "tables"),
        "'sum': dropout after the lookup; 'tables': on the tables, before it",
    )
    predict_positions: bool = option(
        False, BOOL, "causal logits over the position table's rows, too: the targets' competitors"
    )
    initializer: str = option(
        "truncated_normal", one_of("truncated_normal", "normal"), "'truncated_normal', cut at two sd, or 'normal'"
    )
    initializer_range: float = option(0.02, number(0), "sd that matrices start from")
    embedding_range: float = option(0.0, number(0), "the same for the tables; 0: as the matrices")
    position_range: float = option(0.0, number(0), "the same for the position table; 0: as the other tables")
    residual_scale: bool = option(False, BOOL, "what ends a sub-layer starts 1/sqrt(2 layers) as large")
    projection_initializer: str = option(
        "matrices",
        one_of(*INITIALIZERS),
        "of the projection from E to H: 'matrices' (as those) or 'glorot_uniform'",
    )
    neighbours: tuple[int, ...] = option(
        (),
        several(int, -WIDEST, WIDEST),
        "offsets that layer 0's heads attend to at the start (neighbours.py); (): none",
    )
    dtype: str = option(
        "float32", one_of("float32", "bfloat16"), "of the computation; parameters, norms and softmax are float32"
    )
    scan: bool = option(False, BOOL, "compile one layer and loop over it, or unroll all layers")
    remat: bool = option(False, BOOL, "recompute a layer in the backward pass instead of keeping it")

    def __post_init__(self):
        words = (field.name for field in dataclasses.fields(Trunk) if field.metadata["bound"].choices)
        check(Trunk, self, *words)
        if self.network == "mqan" and self.hidden_size % 2:
            raise UserError(
                f"model.hidden_size={self.hidden_size}: the two directions of MQAN's LSTMs share it equally"
            )
        if self.heads < 1 or self.network != "mqan" and not self.head_size and self.hidden_size % self.heads:
            raise UserError(f"model.hidden_size={self.hidden_size} is not divisible by model.heads={self.heads}")
        if self.local_window and not self.causal:
            raise UserError("model.local_window is a band of the past: it needs model.causal=True")
        if self.attention == "fused" and largest(self.attention_dropout):
            raise UserError(
                "model.attention=fused has no dropout on the attention probabilities: set model.attention_dropout=0 as well, "
                "which is then not the paper's recipe, or model.attention=plain"
            )
        if self.lstm and (not self.causal or self.layers != 1 or self.embedding_size not in (0, self.hidden_size)):
            raise UserError(
                "model.lstm reads from left to right, in one layer of the tables' width: it needs "
                "model.causal=True, model.layers=1 and model.embedding_size=0"
            )
        if not 1 <= self.share_groups <= self.layers:
            raise UserError(f"model.share_groups={self.share_groups} of {self.layers} layers: from 1 to all of them")
        defaults = dict(
            head_size=self.hidden_size // self.heads,
            ffn_size=4 * self.hidden_size,
            embedding_size=self.hidden_size,
            embedding_range=self.initializer_range,
            position_range=self.embedding_range or self.initializer_range,
        )
        for name, value in defaults.items():
            object.__setattr__(self, name, getattr(self, name) or value)
        # config.json turns it into a list; it must be hashable, because compiled functions are looked up by model hash.
        object.__setattr__(self, "neighbours", tuple(self.neighbours))

    def sets(self, part):
        """Number of parameter sets that the layers have for a part of `Block`."""
        return self.share_groups if part in SHARED[self.share] else self.layers

    def shares_as(self, other):
        """Whether all layers share and another trunk has as many sets of them, whatever the depths (ALBERT, Table 11)."""
        return self.share == other.share == "all" and self.share_groups == other.share_groups


COVE_SIZE = 600  # of a context vector: two directions of 300 (McCann et al. 2017)


@dataclasses.dataclass(frozen=True)
class MqanOptions:
    """What only MQAN has (models/mqan.py)."""

    BLOCK = "mqan"

    generative: int = option(
        50_000, whole(4, WIDEST), "the first so many words can be generated, the others only copied"
    )
    self_attention: bool = option(True, BOOL, "self-attentive encoder and decoder; False: LSTMs alone (S2S)")
    coattention: bool = option(True, BOOL, "question and context are read apart and see each other; False: as one text")
    question_pointer: bool = option(
        True, BOOL, "words are also copied from the question; False: from the context alone"
    )
    coattention_dropout: float = option(0.3, DROPOUT, "on the context before coattention")
    vector_size: int = option(400, whole(1, WIDEST), "of a word's vector: character n-grams' 100 and GloVe's 300")
    vectors_frozen: bool = option(True, BOOL, "word vectors are not trained")
    cove: bool = option(False, BOOL, "context vectors are read beside the words' own")
    release_decoding: bool = option(
        False, BOOL, "decode as the released code, which scales, layers and pads otherwise than it trains (Mqan.decode)"
    )

    def __post_init__(self):
        rows = ("self_attention", "coattention", "question_pointer")
        for needed, name in zip(rows, rows[1:], strict=False):
            if getattr(self, name) and not getattr(self, needed):
                raise UserError(
                    f"mqan.{name} builds on mqan.{needed}: set mqan.{needed}=True as well, or mqan.{name}=False"
                )


# Fields that only training reads; all others determine what a trunk computes.
TRAINED = {
    "dropout", "attention_dropout", "attention", "dropped_sublayers", "dropped_embeddings", "dtype", "scan", "remat",
    "initializer", "initializer_range", "embedding_range", "position_range", "residual_scale", "projection_initializer",
    "neighbours",
}  # fmt: skip

# The generator's parameters within a model's; these heads have the generator's width.
GENERATOR_HEADS = ("mlm", "baseline")
GENERATOR = ("generator_embeddings", "generator_encoder", *GENERATOR_HEADS)


@dataclasses.dataclass(frozen=True)
class GeneratorOptions:
    """What makes up the replaced tokens, see `build_generator`."""

    BLOCK = "generator"

    kind: str = option(
        "none", one_of("none", "transformer", "unigram", "uniform"), "what it is: 'transformer', 'unigram' or 'uniform'"
    )
    size: float = option(1.0, number(0, 1 << 10, above=True), "of the trunk's width")
    layers: float = option(1.0, number(0, 1 << 10, above=True), "of the trunk's depth")
    heads: int = option(0, whole(0, WIDEST), "of attention; 0: 64 wide, at least one")
    ffn_size: int = option(0, whole(0, WIDEST), "of its feed-forward networks; 0: four times its width")
    tying: str = option(
        "embeddings",
        one_of("none", "embeddings", "all"),
        "what it shares with the trunk: 'none', 'embeddings' or 'all'",
    )
    temperature: float = option(1.0, ABOVE_0, "of the sampling")
    average_duplicates: bool = option(
        False, BOOL, "positions drawn twice get the mean of two ids, as in the released code"
    )
    first_stage: float = option(0.0, SHARE, "share of the steps that train it alone (two_stage.py); 0: both at once")


@dataclasses.dataclass(frozen=True)
class Generator:
    """The second trunk, which generates the replaced tokens, and the fields of `config.generator` that it reads."""

    trunk: Trunk
    tying: str  # with the discriminator: 'none', 'embeddings' (all tables and their norm) or 'all'
    temperature: float  # of the sampling
    average_duplicates: bool  # positions drawn twice get the mean of two ids, as in the released code


@dataclasses.dataclass(frozen=True)
class HeadOptions:
    """What a model's heads depend on besides its trunk: fields of `config.task` and `config.teacher`."""

    classes: int = 0  # of a task
    activation: str = "none"  # before 'classes' and 'choice', see `heads.ClassHead`
    bias: bool = True  # of 'classes' and 'choice'
    initializer: str = "matrices"  # of a task's classes
    dropout: float = 0.0  # before a task's classes or spans
    orders: int = 1  # consecutive rows per example that 'classes' reads together (GPT-1, section 3.3)
    shared: int = 1  # consecutive choices that share one dropout mask before 'choice'
    features: str = ""  # what the task heads read, see `heads.Features`
    lstm: int = 0  # number of bidirectional LSTMs below the task heads
    lstm_size: int = 0  # their width
    beam: int = 0  # of 'joint_span', see `heads.JointSpanHead`
    answerable: bool = False  # whether 'joint_span' handles questions without an answer
    joint_span: str = "electra"  # whose layers 'joint_span' has
    projection: str = "none"  # of 'fit', see `heads.Projection`
    width: int = 0  # that 'fit' projects to

    @property
    def of_classes(self):
        return dict(activation=self.activation, bias=self.bias, initializer=self.initializer, dropout=self.dropout)

    @property
    def reading(self):
        """The arguments of `heads.Features`."""
        return self.features, self.lstm, self.lstm_size


def named_heads(heads, causal):
    """Resolves 'language' in a set of heads as in `Objective.heads`: 'clm' for a causal trunk, else 'mlm'."""
    return {("clm" if causal else "mlm") if head == "language" else head for head in heads}


def model_fields(config, trunk_class=Trunk):
    """The fields of `model.Model` for a run's config, from `model`, `generator`, `losses` (their heads) and `heads`.

    Raises:
      UserError: the trunk is invalid (`Trunk`), or losses, heads and generator do not fit together.
    """
    losses = trained(config)
    needed = {head for row in losses.values() for head in row.heads}
    own_language = "language" in needed
    known = named_heads({head for row in OBJECTIVES.values() for head in row.heads}, config.model.causal)
    for head in config.heads:
        check_choice(head, sorted(known), "head in heads")
    needed = named_heads(needed, config.model.causal) | set(config.heads)
    if needed & {"pair", "classes", "choice"} and config.model.pooler == "none":
        raise UserError(
            "heads of sentence pairs and classes read the pooled vector: set model.pooler=tanh or their losses to 0"
        )
    if "clm" in losses and not config.model.causal:
        raise UserError("losses.clm predicts the next token: set model.causal=True, or its weight to 0")
    masked = sorted(name for name, row in losses.items() if row.masks)
    if "clm" in losses and masked:
        raise UserError(f"losses.clm reads the text as it is, {masked[0]} a corrupted one: choose one")
    fields = {field.name for field in dataclasses.fields(Trunk)}
    trunk = trunk_class(**{name: config.model[name] for name in fields})
    if trunk.attention == "fused" and any(row.teacher == "scores" for row in losses.values()):
        raise UserError(
            "losses.attention compares attention scores, which model.attention=fused does not keep: set it to plain"
        )
    generator = build_generator(config.generator, trunk, losses)
    if own_language and generator is not None:
        raise UserError("losses.soft_targets and soft_predictions read the trunk's own logits: set generator.kind=none")
    task, options = config.task, {}
    if needed & {"classes", "choice", "token_classes"}:
        check_choice(task.activation, ACTIVATIONS, "task.activation")
        options |= dict(classes=task.classes, activation=task.activation, bias=task.bias, orders=task.orders)
        options |= dict(initializer=task.initializer)
    if needed & {"classes", "choice", "token_classes", "span", "joint_span"}:
        check_choice(task.features, FEATURES, "task.features")
        if task.features == "second_to_last" and trunk.layers < 2:
            raise UserError("task.features=second_to_last needs two layers, and model.layers=1")
        options |= dict(features=task.features, lstm=task.lstm, lstm_size=task.lstm_size)
        options |= dict(dropout=trunk.dropout if task.dropout < 0 else task.dropout)
    if "joint_span" in needed:
        options |= dict(beam=task.n_best, answerable="answerable" in losses, joint_span=task.joint_span)
    if "choice" in needed and task.share_dropout:
        options |= dict(shared=task.classes)
    if "fit" in needed:
        check_choice(config.teacher.projection, PROJECTIONS, "teacher.projection")
        options |= dict(projection=config.teacher.projection, width=config.teacher.hidden_size)
    if trunk.network == "mqan" and (needed or generator is not None):
        reading = [name for name, row in losses.items() if row.heads] or ["heads"]
        raise UserError(f"model.network=mqan answers questions and has no other heads: set losses.{reading[0]}=0")
    return trunk, tuple(sorted(needed)), generator, HeadOptions(**options)


def mqan_options(config):
    """The `MqanOptions` of a run's config. Raises UserError: switches that do not fit together."""
    return MqanOptions(**{field.name: config.mqan[field.name] for field in dataclasses.fields(MqanOptions)})


def build_generator(config, trunk, losses):
    """ELECTRA's generator for a trunk (run_pretraining.py, get_generator_config), or None.

    Its width is `size` times the trunk's, rounded. Unless the config overrides it, heads are 64 wide, at least
    one, and the feed-forward network is four times the width. Kinds 'unigram' and 'uniform' are
    not models: the corruption draws the tokens.
    """
    check(GeneratorOptions, config, "kind", "tying")
    reads = sorted(name for name, row in losses.items() if row.replaced)
    if reads and config.kind == "none":
        raise UserError(f"losses.{reads[0]} needs tokens that a generator replaced: set generator.kind=transformer")
    if config.kind != "none" and not reads and "all_tokens" not in losses:
        raise UserError(
            f"generator.kind={config.kind}, but no loss reads the discriminator: set losses.rtd or kind=none"
        )
    trains = sorted({*losses} & {"mlm", "adversarial"})
    if config.kind in ("unigram", "uniform") and trains:
        raise UserError(f"a {config.kind} generator has nothing to train: set losses.{trains[0]}=0")
    if config.kind != "transformer":
        return None
    if not trains:
        raise UserError("the generator is not trained: give losses.mlm or losses.adversarial a weight")
    if config.tying == "all":
        if config.size != 1 or config.layers != 1:
            raise UserError("generator.tying=all needs a generator of the same shape: size=1 and layers=1")
        shape = trunk
    else:
        hidden = round(trunk.hidden_size * config.size)
        heads = config.heads or max(1, hidden // 64)
        shape = dataclasses.replace(
            trunk,
            hidden_size=hidden,
            layers=round(trunk.layers * config.layers),
            heads=heads,
            head_size=0,
            ffn_size=config.ffn_size,
            # Untied tables are as wide as the generator itself.
            embedding_size=trunk.embedding_size if config.tying == "embeddings" else 0,
            pooler="none",
            # The trunk's attention initialisation (neighbours.py) only fits a generator of the same width.
            neighbours=trunk.neighbours[:heads] if hidden == trunk.hidden_size else (),
        )
    return Generator(shape, config.tying, config.temperature, config.average_duplicates)
