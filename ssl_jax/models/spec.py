"""What a model is, as its config says: its trunk, its heads, its generator, and what of that does not fit.

Importing this takes no JAX, so that a config is checked before that is loaded.
"""

import dataclasses

from ssl_jax.errors import UserError, check_choice
from ssl_jax.objectives import trained

# Names of `transformer.ACTIVATIONS`, of `heads.Pooler` and of what `heads.Features` gives ('': the trunk's output).
ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "tanh", "none")
POOLERS = ("none", "plain", "tanh", "relu", "gelu")
FEATURES = ("", "embeddings", "last", "second_to_last", "sum_last_four", "weighted_sum_last_four", "concat_last_four",
            "weighted_sum_all")  # fmt: skip
# The parts of `Block` whose parameters layers may share (ALBERT, section 3.1); a norm goes with its sub-layer.
SHARED = {
    "none": (),
    "attention": ("attention", "attention_norm"),
    "ffn": ("ffn", "ffn_norm"),
    "all": ("attention", "attention_norm", "ffn", "ffn_norm"),
}


# What the words among a trunk's fields are.
CHOICES = {
    "activation": ACTIVATIONS,
    "norm": ("post", "pre"),
    "pooler": POOLERS,
    "share": SHARED,
    "dropped_embeddings": ("sum", "tables"),
    "initializer": ("truncated_normal", "normal"),
    "projection_initializer": ("matrices", "glorot_uniform"),
    "dtype": ("float32", "bfloat16"),
}
# And among a generator's and a student's.
GENERATORS = ("none", "transformer", "unigram", "uniform")
TYINGS = ("none", "embeddings", "all")
PROJECTIONS = ("two", "one", "each", "none")


@dataclasses.dataclass(frozen=True)
class Trunk:
    """What a trunk is; `config.model` holds the same fields."""

    vocab_size: int
    layers: int  # how many blocks
    hidden_size: int  # the width of the states
    heads: int  # of attention
    head_size: int  # 0: hidden size / heads
    ffn_size: int  # 0: four times the hidden size
    embedding_size: int  # 0: the hidden size; otherwise the sum of embeddings is projected to it
    positions: int  # the longest sequence
    segments: int  # rows of the segment table; 0: none
    causal: bool  # each position sees itself and what is before it
    band: int  # every second layer, from the second on, sees the last so many positions alone; 0: all see all
    share: str  # what layers share: 'none', 'attention', 'ffn' (each with its norm) or 'all'
    share_groups: int  # layers fall into so many groups, one after the other, that share within themselves
    norm: str  # 'post': LN(x + f(x)), the original; 'pre': x + f(LN(x))
    embedding_norm: bool  # a norm behind the embeddings
    final_norm: bool  # a norm behind the last layer
    norm_epsilon: float  # added to a norm's variance
    activation: str  # of the feed-forward networks: 'gelu' (erf), 'gelu_tanh', 'relu' or 'tanh'
    pooler: str  # what heads of a whole text read, see `heads.Pooler`; 'none': there are no such heads
    dropout: float  # after the embeddings and after each sub-layer
    attention_dropout: float  # on the attention probabilities
    dropped_embeddings: str  # 'sum': dropout after the lookup; 'tables': on the tables, before it
    predict_positions: bool  # causal logits over the position table's rows, too: the targets' competitors
    initializer: str  # 'truncated_normal', cut at two sd, or 'normal'
    initializer_range: float  # sd that matrices start from
    embedding_range: float  # the same for the tables; 0: as the matrices
    position_range: float  # the same for the position table; 0: as the other tables
    residual_scale: bool  # what ends a sub-layer starts 1/sqrt(2 layers) as large
    projection_initializer: str  # of the projection from E to H: 'matrices' (as those) or 'glorot_uniform'
    neighbours: tuple[int, ...]  # offsets that layer 0's heads attend to at the start (neighbours.py); (): none
    dtype: str  # of the computation; parameters, norms and softmax are float32
    scan: bool  # compile one layer and loop over it, or unroll all layers
    remat: bool  # recompute a layer in the backward pass instead of keeping it

    def __post_init__(self):
        for name, known in CHOICES.items():
            check_choice(getattr(self, name), known, f"model.{name}")
        if self.heads < 1 or not self.head_size and self.hidden_size % self.heads:
            raise UserError(
                f"model.hidden_size={self.hidden_size} is not divisible by model.heads={self.heads}"
            )
        if self.band and not self.causal:
            raise UserError("model.band is a band of the past: it needs model.causal=True")
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
        # A run's config.json makes it a list; what is compiled for a model is found by the model's hash.
        object.__setattr__(self, "neighbours", tuple(self.neighbours))

    def sets(self, part):
        """How many sets of parameters the layers have for a part of `Block`."""
        return self.share_groups if part in SHARED[self.share] else self.layers


# Fields that only training reads: all others decide what a trunk computes.
TRAINED = {
    "dropout", "attention_dropout", "dropped_embeddings", "dtype", "scan", "remat", "initializer", "initializer_range",
    "embedding_range", "position_range", "residual_scale", "projection_initializer", "neighbours",
}  # fmt: skip

# All heads there are. 'tokens' is 'mlm' or 'clm' at all positions, 'fit' a student's projection to its teacher's width.
HEADS = ("mlm", "clm", "pair", "classes", "choice", "token_classes", "span", "joint_span", "replaced", "restored",
         "copied", "baseline", "tokens", "fit")  # fmt: skip
# What of a model's parameters is its generator's: the heads are as wide as that is.
GENERATOR_HEADS = ("mlm", "baseline")
GENERATOR = ("generator_embeddings", "generator_encoder", *GENERATOR_HEADS)


@dataclasses.dataclass(frozen=True)
class Generator:
    """The second trunk, which makes up the replaced tokens; the fields of `config.generator` that it reads."""

    trunk: Trunk
    tying: str  # with the discriminator: 'none', 'embeddings' (all tables and their norm) or 'all'
    temperature: float  # of the sampling
    average_duplicates: bool  # positions drawn twice get the mean of two ids, as in the released code


def named_heads(heads, causal):
    """A set of heads as in `Objective.heads`, with 'language' by its name: a causal trunk's is 'clm', others' is 'mlm'."""
    return {("clm" if causal else "mlm") if head == "language" else head for head in heads}


def model_fields(config, trunk_class=Trunk):
    """The fields of `model.Model` for a run's config: `model`'s trunk, `generator`, the heads that `losses` read, `heads`.

    Raises:
      UserError: the trunk is none (`Trunk`), or losses, heads and generator do not fit.
    """
    losses = trained(config)
    needed = {head for row in losses.values() for head in row.heads}
    own_language = "language" in needed
    for head in config.heads:
        check_choice(head, HEADS, "head in heads")
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
    generator = build_generator(config.generator, trunk, losses)
    if own_language and generator is not None:
        raise UserError("losses.soft_targets and soft_predictions read the trunk's own logits: set generator.kind=none")
    classes, dropout, orders = (0, "none", True), 0.0, 1
    if needed & {"classes", "choice", "token_classes"}:
        classes = (config.task.classes, config.task.activation, config.task.bias)
        check_choice(classes[1], ACTIVATIONS, "task.activation")
        orders = config.task.orders
    reading = ("", 0, 0)
    if needed & {"classes", "choice", "token_classes", "span", "joint_span"}:
        dropout = trunk.dropout if config.task.dropout < 0 else config.task.dropout
        reading = (config.task.features, config.task.lstm, config.task.lstm_size)
        check_choice(reading[0], FEATURES, "task.features")
        if reading[0] == "second_to_last" and trunk.layers < 2:
            raise UserError("task.features=second_to_last needs two layers, and model.layers=1")
    spans = (config.task.n_best, "answerable" in losses) if "joint_span" in needed else (0, False)
    shared = config.task.classes if "choice" in needed and config.task.share_dropout else 1
    projection = ("none", 0)
    if "fit" in needed:
        projection = (config.teacher.projection, config.teacher.hidden_size)
        check_choice(projection[0], PROJECTIONS, "teacher.projection")
    options = (classes, projection, dropout, orders, reading, spans, shared)
    return trunk, tuple(sorted(needed)), generator, *options


def build_generator(config, trunk, losses):
    """ELECTRA's generator beside a trunk (run_pretraining.py, get_generator_config), or None.

    Its width is `size` times the trunk's, rounded; unless the config has other numbers, heads are 64 wide, at least
    one, and its feed-forward network is four times its width. Kinds 'unigram' and 'uniform' are no model: the corruption draws the tokens.
    """
    check_choice(config.kind, GENERATORS, "generator.kind")
    check_choice(config.tying, TYINGS, "generator.tying")
    reads = sorted(name for name, row in losses.items() if row.replaced)
    if reads and config.kind == "none":
        raise UserError(f"losses.{reads[0]} needs tokens that a generator replaced: set generator.kind=transformer")
    if config.kind != "none" and not reads and "all_tokens" not in losses:
        raise UserError(f"generator.kind={config.kind}, but no loss reads the discriminator: set losses.rtd or kind=none")
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
            # A start for the trunk's heads (neighbours.py) fits a generator of the trunk's width alone.
            neighbours=trunk.neighbours[:heads] if hidden == trunk.hidden_size else (),
        )
    return Generator(shape, config.tying, config.temperature, config.average_duplicates)
