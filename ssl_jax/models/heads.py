"""The heads on the trunk: a module for each kind of logits, registered in HEADS at the end of this file.

A head takes a `Seen` and returns its entries of `out`; its `weights` counts matmul weights per token, for the FLOPs; one
with logits over the vocabulary also has `decoded`, the fraction of tokens that get them, for the memory.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssl_jax.models.decoding import Decoding
from ssl_jax.models.transformer import ACTIVATIONS, Dropout, TransformerConfig


class Seen(NamedTuple):
    """The inputs of a head: everything the forward pass has computed by then.

    Attributes:
      batch: as the trunk saw it.
      out: the trunk's dict, see `Transformer`.
      table: the token embeddings, [V, E].
      features: the output of `Features`, [B, S, F].
      pooled: the output of `Pooler`, [B, H] or [B, F]; None without a pooler.
    """

    batch: dict
    out: dict
    table: Any = None
    features: Any = None
    pooled: Any = None

    @property
    def predicted(self):
        """The last hidden states at `batch['positions']` [B, P]: [B, P, H]; at all positions without that key."""
        encoded = self.out["encoded"]
        if "positions" not in self.batch:
            return encoded
        # A matmul with one-hot rows: its gradient is a matmul too, not a scatter-add.
        rows = jax.nn.one_hot(self.batch["positions"], encoded.shape[1], dtype=encoded.dtype)
        return jnp.einsum("bps,bsh->bph", rows, encoded)


class Sizes(NamedTuple):
    """What the cost of a head depends on besides its own fields."""

    length: int  # tokens per sequence
    predicted: float  # the fraction of tokens that are predicted
    features: int  # F, the width of `Features`
    pooled: int  # the width of the pooled vector


class Features(nn.Module):
    """Per-token features for the task heads, in place of the trunk's output: the trunk's dict to [B, S, F].

    The kinds are those of BERT, Table 7: the embeddings as input to the first layer (after the projection to H if
    tables are narrower); the last or the second-to-last layer; the last four layers, or all without the embeddings,
    summed or concatenated (with fewer than four layers, all of them). Layers are read at their output: normed in a
    post-norm trunk, not normed in a pre-norm one, where 'last' does not include the final norm either. BERT does not
    say how a sum is weighted; here as in ELMo (Peters et al. 2018, equation 1), by a softmax over one scalar per
    layer, and a gain.

    On top are `lstm` bidirectional LSTMs, `lstm_size` wide in each direction (BERT, section 5.3, and Table 5's
    "+ BiLSTM"), without dropout between them. They read only real tokens, which come first, and output 0 at padding.
    """

    config: TransformerConfig
    kind: str  # one of spec.FEATURES
    lstm: int
    lstm_size: int

    @nn.compact
    def __call__(self, out, mask):
        """
        Args:
          out: the trunk's dict, see `Transformer`.
          mask: bool or int [B, S], true for real tokens.

        Returns:
          [B, S, F], F from `feature_size`.
        """
        x = self.read(out)
        lengths = mask.astype(jnp.int32).sum(1)
        for number in range(self.lstm):
            directions = (
                nn.RNN(nn.OptimizedLSTMCell(self.lstm_size, dtype=self.config.dtype, name=f"{direction}_{number}"))
                for direction in ("forward", "backward")
            )
            x = nn.Bidirectional(*directions)(x, seq_lengths=lengths)
        return jnp.where(mask[..., None] != 0, x, 0).astype(self.config.dtype) if self.lstm else x

    def read(self, out):
        layers, last_four = out["layers"]["hidden"], out["layers"]["hidden"][-4:]
        if self.kind == "":
            return out["encoded"]
        if self.kind == "embeddings":
            return out["embedded"]
        if self.kind == "last":
            return layers[-1]
        if self.kind == "second_to_last":
            return layers[-2]
        if self.kind == "sum_last_four":
            return last_four.sum(0)
        if self.kind == "concat_last_four":
            return jnp.concatenate(list(last_four), axis=-1)
        summed = layers if self.kind == "weighted_sum_all" else last_four
        weights = jax.nn.softmax(self.param("weights", nn.initializers.zeros, (len(summed),)))
        weights *= self.param("gain", nn.initializers.ones, ())
        return jnp.einsum("l,lbsh->bsh", weights.astype(summed.dtype), summed)


def feature_size(config, kind, lstm, lstm_size):
    """F, the width of the output of `Features`."""
    if lstm:
        return 2 * lstm_size
    return config.hidden_size * (min(4, config.layers) if kind == "concat_last_four" else 1)


def lstm_weights(config, kind, lstm, lstm_size):
    """Number of weights of all bidirectional LSTMs: four gates per direction, from the input and the last state."""
    widths = [feature_size(config, kind, 0, 0), *[2 * lstm_size] * (lstm - 1)][:lstm]
    return sum(2 * 4 * lstm_size * (width + lstm_size) for width in widths)


class Pooler(nn.Module):
    """One vector per text for the sequence-level heads: [B, S, F] to [B, H], or to [B, F] for 'plain'.

    Reads the first position (BERT, modeling.py); in a causal trunk, where that one has seen nothing, the last real
    one, as in GPT-1's fine-tuning (section 3.2). `config.pooler` 'tanh' is BERT's dense layer and tanh; 'relu' and
    'gelu' are what `transformers` puts before the classifier of DistilBERT and ELECTRA; 'plain' is the vector itself
    (GPT-1; ELECTRA, section 2).

    With bidirectional LSTMs it reads each direction's last state, after the whole text: the first half of the
    features at the last real position, the second half at the first. BERT does not say how Table 5's are read.
    """

    config: TransformerConfig
    bidirectional: bool = False

    @nn.compact
    def __call__(self, features, mask):
        x = features[:, 0]
        if self.config.causal or self.bidirectional:
            last = jnp.argmax(jnp.arange(mask.shape[1]) * mask, axis=1)
            end = jnp.take_along_axis(features, last[:, None, None], axis=1)[:, 0]
            half = x.shape[-1] // 2
            x = jnp.concatenate([end[:, :half], x[:, half:]], axis=-1) if self.bidirectional else end
        if self.config.pooler == "plain":
            return x
        return ACTIVATIONS[self.config.pooler](self.config.dense(self.config.hidden_size, "dense")(x))


def language_model(name, decoding):
    """A language head's entries of `out`; of the logits and the decoding, XLA prunes the one that is not read."""
    return {f"{name}_logits": decoding.logits(), f"{name}_decoding": decoding}


def decoder_weights(config, dense):
    """Number of weights of a tied decoder, with or without a dense layer before it."""
    return config.embedding_size * (config.vocab_size + dense * config.hidden_size)


class MaskedLanguageHead(nn.Module):
    """Dense, activation, norm, tied decoder with a bias: [..., H] to logits [..., V], float32."""

    config: TransformerConfig
    key: str = "mlm"

    def __call__(self, seen):
        return language_model(self.key, self.decoding(seen.predicted, seen.table))

    def weights(self, sizes, predicted=None):
        return decoder_weights(self.config, dense=True) * (sizes.predicted if predicted is None else predicted)

    def decoded(self, sizes):
        return sizes.predicted

    @nn.compact
    def decoding(self, x, table):
        config = self.config
        x = config.dense(config.embedding_size, "dense")(x)
        x = config.layer_norm("norm")(ACTIVATIONS[config.activation](x))
        return Decoding(x, table, self.param("bias", nn.initializers.zeros, (len(table),)))


class CopyingHead(nn.Module):
    """ELECTRA's All-Tokens MLM (section 3.5): what the original token was, and whether it is unchanged.

    Logits [B, S, V] and the logit of the copy probability [B, S], float32.
    """

    config: TransformerConfig

    @nn.compact
    def __call__(self, seen):
        x = seen.out["encoded"]
        logits = MaskedLanguageHead(self.config, name="tokens").decoding(x, seen.table).logits()
        return {"copied_logits": logits, "copy_logit": self.config.dense(1, "copy")(x)[..., 0].astype(jnp.float32)}

    def weights(self, sizes):
        del sizes
        return decoder_weights(self.config, dense=True) + self.config.hidden_size

    def decoded(self, sizes):
        del sizes
        return 1.0


class CausalLanguageHead(nn.Module):
    """Tied decoder without a bias (GPT-1, GPT-2): [B, S, H] to [B, S, V], float32.

    If the tables are narrower than the trunk, a dense layer projects back to their width.
    """

    config: TransformerConfig

    def __call__(self, seen):
        return language_model("clm", self.decoding(seen.predicted, seen.table))

    def weights(self, sizes, predicted=1.0):
        del sizes
        return decoder_weights(self.config, dense=self.config.embedding_size != self.config.hidden_size) * predicted

    def decoded(self, sizes):
        del sizes
        return 1.0

    @nn.compact
    def decoding(self, x, table):
        config = self.config
        if config.embedding_size != config.hidden_size:
            x = config.dense(config.embedding_size, "dense")(x)
        return Decoding(x, table)


class TokensHead(nn.Module):
    """The trunk's own language model at all positions, [B, S, V]: what a student compares with its teacher."""

    language: nn.Module  # 'mlm' or 'clm', which owns the parameters

    def __call__(self, seen):
        return language_model("token", self.language.decoding(seen.out["encoded"], seen.table))

    def weights(self, sizes):
        return self.language.weights(sizes, 1.0)

    def decoded(self, sizes):
        del sizes
        return 1.0


class PairHead(nn.Module):
    """Binary sentence-pair logits from the pooled vector: [B, H] to [B, 2], float32 (NSP, SOP)."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, seen):
        return {"pair_logits": self.config.dense(2, "dense")(seen.pooled).astype(jnp.float32)}

    def weights(self, sizes):
        return 2 * sizes.pooled / sizes.length


class ClassHead(nn.Module):
    """A task's class logits from the pooled vector, after dropout: [B, F] to [B, C], float32 (run_classifier.py).

    A single class is a score: of a regression, or of one of several choices. TinyBERT's release reads the classes from
    ReLU(pooled), without dropout (transformer/modeling.py); ALBERT's dropout rate here is not the trunk's (Table 14).
    ELECTRA's release starts the kernel from TensorFlow's default, `initializer` 'glorot_uniform' (classification_tasks.py).
    The `orders` rows of an example are summed first (GPT-1, section 3.3). GPT-1's release uses one dropout mask for all
    choices of an example, which are `shared` consecutive rows (train.py).
    """

    config: TransformerConfig
    classes: int
    activation: str = "none"
    bias: bool = True
    initializer: str = "matrices"
    dropout: float = 0.0
    orders: int = 1
    shared: int = 1

    @nn.compact
    def __call__(self, seen):
        pooled = seen.pooled
        if self.orders > 1:
            pooled = pooled.reshape(-1, self.orders, pooled.shape[-1]).sum(1)
        if self.activation == "none":
            pooled = Dropout(self.dropout, self.shared)(pooled, seen.batch.get("index"))
        pooled = ACTIVATIONS[self.activation](pooled)
        dense = self.config.dense(
            self.classes, "dense", kernel_init=self.config.initial_by(self.initializer), bias=self.bias
        )
        return {"class_logits": dense(pooled).astype(jnp.float32)}

    def weights(self, sizes):
        return self.classes * sizes.pooled / sizes.length / self.orders


class ChoiceHead(ClassHead):
    """A score for each row, which is one of an example's choices: [B, F] to [B], float32."""

    def __call__(self, seen):
        return {"choice_logit": super().__call__(seen)["class_logits"][:, 0]}


class TokenClassHead(nn.Module):
    """Class logits for every token, after dropout: [B, S, F] to [B, S, C], float32 (BERT, section 5.3)."""

    config: TransformerConfig
    classes: int
    initializer: str = "matrices"
    dropout: float = 0.0

    @nn.compact
    def __call__(self, seen):
        x = Dropout(self.dropout)(seen.features, seen.batch.get("index"))
        dense = self.config.dense(self.classes, "dense", kernel_init=self.config.initial_by(self.initializer))
        return {"token_class_logits": dense(x).astype(jnp.float32)}

    def weights(self, sizes):
        return self.classes * sizes.features


class SpanHead(nn.Module):
    """Start and end logits of the answer: [B, S, F] to [B, S, 2], float32 (BERT, section 4.2).

    BERT has no dropout here (run_squad.py); ALBERT uses 0.1 (Table 14).
    """

    config: TransformerConfig
    dropout: float = 0.0

    @nn.compact
    def __call__(self, seen):
        x = Dropout(self.dropout)(seen.features, seen.batch.get("index"))
        return {"span_logits": self.config.dense(2, "dense")(x).astype(jnp.float32)}

    def weights(self, sizes):
        return 2 * sizes.features


class JointSpanHead(nn.Module):
    """Start of the answer, end given the start, and whether there is an answer (XLNet's module).

    ELECTRA's paper only says that it is XLNet's (section 3.1); the rest is from finetune/qa/qa_tasks.py
    (google-research/electra, 8a46635f): a hidden layer of 512 with GELU on the state at the start concatenated with that
    at a possible end; the same on [CLS] concatenated with the mean of all states weighted by start probability, giving
    one logit for "no answer"; logits 1,000 lower outside the context, its [SEP] and [CLS]; TensorFlow's initial values;
    no dropout.

    ALBERT's, for SQuAD 2.0 (squad_utils.py, create_v2_model, in google-research/albert, b772393d): hidden layers as wide
    as the trunk with tanh, the end's with a norm, that of "no answer" with dropout and no bias behind it; the context's
    [SEP] is no candidate either; the trunk's initial values.
    """

    config: TransformerConfig
    beam: int  # the number of top starts, and of top ends for each, that are candidates
    answerable: bool  # whether it has a logit for questions without an answer
    kind: str = "electra"  # or 'albert'
    dropout: float = 0.0  # of ALBERT's

    @property
    def hidden(self):
        """The width of the hidden layers."""
        return 512 if self.kind == "electra" else self.config.hidden_size

    def weights(self, sizes):
        """Per token, both logits and the end's hidden layer; once per sequence, the start's, and answerability."""
        once = sizes.features * self.hidden + self.answerable * (2 * sizes.features + 1) * self.hidden
        return sizes.features + (sizes.features + 1) * self.hidden + once / sizes.length

    @nn.compact
    def __call__(self, seen):
        """Reads `mask` and `segments` [B, S] of the batch and, if answers are known, `span` [B, 2].

        Returns:
          A dict, all float32. `span_candidates` [B, 1 + K K, 3]: first and last position and score, K = min(`beam`, S);
          row 0 is "no answer" (positions 0, 0), scored by its logit, or 0 if not `answerable`; then the spans, scored
          by log p(start) + log p(end | start). If `answerable`, that logit as `impossible_logit` [B]. If answers are
          known, `joint_span_logits` [B, S, 2]: of the start, and of the end given the true start.
        """
        features, batch = seen.features, seen.batch
        length, size = features.shape[1:]
        electra = self.kind == "electra"
        start = self.config.initial_by("glorot_uniform" if electra else "matrices")
        activation = ACTIVATIONS["gelu" if electra else "tanh"]
        dense = functools.partial(self.config.dense, kernel_init=start)
        context = batch["mask"] != 0
        if not electra:  # the last real token is the context's [SEP]
            context &= jnp.pad(context[:, 1:], [(0, 0), (0, 1)])
        possible = (batch["segments"] == 1) & context | (jnp.arange(length) == 0)
        barred = jnp.where(possible, 0.0, -1000.0)
        start_logits = dense(1, "start")(features)[..., 0].astype(jnp.float32) + barred

        # One kernel for two concatenated states: its product with each end is computed once for all starts.
        kernel = self.param("hidden_kernel", start, (2 * size, self.hidden)).astype(features.dtype)
        bias = self.param("hidden_bias", nn.initializers.zeros, (self.hidden,)).astype(features.dtype)
        of_end, end = jnp.dot(features, kernel[size:]) + bias, dense(1, "end")
        norm = (lambda x: x) if electra else self.config.layer_norm("norm")

        def end_logits(starts):
            """Starts [B, N] to [B, N, S]."""
            rows = jax.nn.one_hot(starts, length, dtype=features.dtype)
            of_start = jnp.dot(jnp.einsum("bns,bsf->bnf", rows, features), kernel[:size])
            hidden = norm(activation(of_start[:, :, None] + of_end[:, None]))
            return end(hidden)[..., 0].astype(jnp.float32) + barred[:, None]

        made, no_answer = {}, jnp.zeros(len(features))
        if self.answerable:
            shares = jax.nn.softmax(start_logits).astype(features.dtype)
            read = jnp.concatenate([features[:, 0], jnp.einsum("bs,bsf->bf", shares, features)], axis=-1)
            hidden = activation(dense(self.hidden, "impossible_hidden")(read))
            if not electra:
                hidden = Dropout(self.dropout)(hidden, batch.get("index"))
            logit = dense(1, "impossible", bias=electra)(hidden)[:, 0].astype(jnp.float32)
            made["impossible_logit"] = no_answer = logit
        if "span" in batch:
            given = end_logits(batch["span"][:, :1])[:, 0]
            made["joint_span_logits"] = jnp.stack([start_logits, given], axis=-1)

        beam = min(self.beam, length)
        start_scores, starts = jax.lax.top_k(jax.nn.log_softmax(start_logits), beam)
        end_scores, ends = jax.lax.top_k(jax.nn.log_softmax(end_logits(starts)), beam)
        spans = jnp.broadcast_to(starts[..., None], ends.shape), ends, start_scores[..., None] + end_scores
        spans = jnp.stack(spans, axis=-1).reshape(len(features), -1, 3)
        nowhere = jnp.pad(no_answer[:, None, None], [(0, 0), (0, 0), (2, 0)])
        return made | {"span_candidates": jnp.concatenate([nowhere, spans], axis=1)}


class ReplacedHead(nn.Module):
    """Dense, activation, dense to one logit: was this token replaced? [B, S, H] to [B, S], float32.

    ELECTRA's formula has no hidden layer (section 2); its code has one (run_pretraining.py), and its last
    dense layer uses TensorFlow's default initializer.
    """

    config: TransformerConfig

    @nn.compact
    def __call__(self, seen):
        config = self.config
        x = ACTIVATIONS[config.activation](config.dense(config.hidden_size, "dense")(seen.out["encoded"]))
        logit = config.dense(1, "logit", kernel_init=nn.initializers.glorot_uniform())(x)
        return {"replaced_logit": logit[..., 0].astype(jnp.float32)}

    def weights(self, sizes):
        del sizes
        return self.config.hidden_size**2 + self.config.hidden_size


class Projection(nn.Module):
    """Projects the embeddings and all layers' states to the teacher's width: [L + 1, B, S, H] to [L + 1, B, S, T].

    TinyBERT, equations 8 and 9: W_e for the embeddings and W_h for all layers (`kind` 'two'). The released code
    (transformer/modeling.py, fit_dense) uses 'one' dense layer, with a bias, for both; its second version uses one
    for 'each' state. 'none' leaves the states unchanged.
    """

    config: TransformerConfig
    kind: str
    width: int  # T

    def __call__(self, seen):
        return {"fitted": self.project(jnp.concatenate([seen.out["embedded"][None], seen.out["layers"]["hidden"]]))}

    def weights(self, sizes):
        del sizes
        return 0 if self.kind == "none" else (self.config.layers + 1) * self.config.hidden_size * self.width

    @nn.compact
    def project(self, states):
        if self.kind == "none":
            return states
        number = jnp.arange(len(states))
        which = {"one": 0 * number, "two": jnp.minimum(number, 1), "each": number}[self.kind]
        count = {"one": 1, "two": 2, "each": len(states)}[self.kind]
        start = self.config.initial(self.config.initializer_range)
        kernel = self.param("kernel", start, (count, self.config.hidden_size, self.width))
        fitted = jnp.einsum("lbsh,lht->lbst", states, kernel[which].astype(self.config.dtype))
        if self.kind != "two":
            bias = self.param("bias", nn.initializers.zeros, (count, self.width))
            fitted += bias[which][:, None, None].astype(self.config.dtype)
        return fitted


class BaselineHead(nn.Module):
    """REINFORCE's baseline, the expected reward at a position (ELECTRA, appendix F): [B, P, H] to a logit [B, P]."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, seen):
        # The baseline learns to predict the reward; it must not change the states it reads.
        x = jax.lax.stop_gradient(seen.predicted)
        return {"baseline_logit": self.config.dense(1, "dense")(x)[..., 0].astype(jnp.float32)}

    def weights(self, sizes):
        return self.config.hidden_size * sizes.predicted


class Head(NamedTuple):
    """One of `Model.heads`.

    Attributes:
      build: `build(model)` returns the module, from a `Model`'s `config`, `predictor` (the trunk of its masked language
        model) and `options`.
      name: the name of its parameters.
    """

    build: Callable
    name: str


HEADS = {
    "mlm": Head(lambda model: MaskedLanguageHead(model.predictor), "mlm"),
    "clm": Head(lambda model: CausalLanguageHead(model.config), "clm"),
    "tokens": Head(lambda model: TokensHead(model.language), "tokens"),
    "copied": Head(lambda model: CopyingHead(model.config), "copied"),
    "pair": Head(lambda model: PairHead(model.config), "pair"),
    # ELECTRA
    "replaced": Head(lambda model: ReplacedHead(model.config), "replaced"),
    "restored": Head(lambda model: MaskedLanguageHead(model.config, "restored"), "restored"),
    "baseline": Head(lambda model: BaselineHead(model.predictor), "baseline"),
    # Tasks
    "classes": Head(
        lambda model: ClassHead(model.config, model.options.classes, **model.options.of_classes, orders=model.orders),
        "classifier",
    ),
    "choice": Head(
        lambda model: ChoiceHead(model.config, 1, **model.options.of_classes, shared=model.options.shared), "choice"
    ),
    "token_classes": Head(
        lambda model: TokenClassHead(
            model.config, model.options.classes, model.options.initializer, model.options.dropout
        ),
        "token_classes",
    ),
    "span": Head(lambda model: SpanHead(model.config, model.options.dropout), "span"),
    "joint_span": Head(
        lambda model: JointSpanHead(
            model.config, model.options.beam, model.options.answerable, model.options.joint_span, model.options.dropout
        ),
        "joint_span",
    ),
    # A student
    "fit": Head(lambda model: Projection(model.config, model.options.projection, model.options.width), "fit"),
}
