"""What reads the trunk: one module per kind of logits."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssl_jax.models.transformer import ACTIVATIONS, Dropout, TransformerConfig


def tied_logits(x, table, dtype):
    """[..., E] times the tokens' table [V, E], to [..., V], float32."""
    logits = decode(x.reshape(-1, x.shape[-1]), table.astype(dtype))
    return logits.reshape(*x.shape[:-1], -1)


@jax.custom_vjp
def decode(x, table):
    """[M, E] times [V, E] transposed, float32.

    As in `transformer.dense_product` it is the backward pass that differs from JAX's own: the table's gradient is
    made as x^T g, so that a loss over the vocabulary is not computed a second time, transposed. With soft targets
    at 1,024 tokens, E 128, V 4,096, two busy cores, that takes 97 ms instead of 256, head and loss together.
    """
    return jnp.einsum("me,ve->mv", x, table, preferred_element_type=jnp.float32)


def _decode_backward(saved, gradient):
    x, table = saved
    gradient = gradient.astype(x.dtype)
    return jnp.dot(gradient, table), jnp.dot(x.T, gradient).T


decode.defvjp(lambda x, table: (decode(x, table), (x, table)), _decode_backward)


class Pooler(nn.Module):
    """What heads on a whole text read, from one position: [B, S, H] to [B, H].

    The first position (BERT, modeling.py); in a causal trunk, where that one has seen nothing, the last real
    one, as in GPT-1's fine-tuning (section 3.2). `config.pooler` 'tanh' is BERT's dense layer and tanh, 'relu' and
    'gelu' are what `transformers` has before the classes of DistilBERT and ELECTRA, 'plain' is the vector itself
    (GPT-1; ELECTRA, section 2).
    """

    config: TransformerConfig

    @nn.compact
    def __call__(self, encoded, mask):
        x = encoded[:, 0]
        if self.config.causal:
            last = jnp.argmax(jnp.arange(mask.shape[1]) * mask, axis=1)
            x = jnp.take_along_axis(encoded, last[:, None, None], axis=1)[:, 0]
        if self.config.pooler == "plain":
            return x
        return ACTIVATIONS[self.config.pooler](self.config.dense(self.config.hidden_size, "dense")(x))


class MaskedLanguageHead(nn.Module):
    """dense, activation, norm, tied decoder with a bias: [..., H] to logits [..., V], float32."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x, table):
        config = self.config
        x = config.dense(config.embedding_size, "dense")(x)
        x = config.layer_norm("norm")(ACTIVATIONS[config.activation](x))
        return tied_logits(x, table, config.dtype) + self.param("bias", nn.initializers.zeros, (len(table),))


class CopyingHead(nn.Module):
    """ELECTRA's All-Tokens MLM (section 3.5): what the token was, and whether it is as it was.

    [B, S, H] to logits [B, S, V] and the logit of the copy probability [B, S], float32.
    """

    config: TransformerConfig

    @nn.compact
    def __call__(self, x, table):
        logits = MaskedLanguageHead(self.config, name="tokens")(x, table)
        return logits, self.config.dense(1, "copy")(x)[..., 0].astype(jnp.float32)


class CausalLanguageHead(nn.Module):
    """Tied decoder without a bias (GPT-1, GPT-2): [B, S, H] to [B, S, V], float32.

    Where the tables are narrower than the trunk a dense layer leads back to them.
    """

    config: TransformerConfig

    @nn.compact
    def __call__(self, x, table):
        config = self.config
        if config.embedding_size != config.hidden_size:
            x = config.dense(config.embedding_size, "dense")(x)
        return tied_logits(x, table, config.dtype)


class PairHead(nn.Module):
    """Two classes of sentence pair from the pooled vector: [B, H] to [B, 2], float32 (NSP, SOP)."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, pooled):
        return self.config.dense(2, "dense")(pooled).astype(jnp.float32)


class ClassHead(nn.Module):
    """The classes of a task from the pooled vector, after dropout: [B, H] to [B, C], float32 (run_classifier.py).

    TinyBERT's release reads them from ReLU(pooled), without dropout (transformer/modeling.py). One class makes a
    score: of a regression, or of one of several choices. ALBERT's rate of dropout here is not the trunk's (Table 14).
    """

    config: TransformerConfig
    classes: int
    activation: str = "none"
    bias: bool = True
    dropout: float = 0.0

    @nn.compact
    def __call__(self, pooled):
        if self.activation == "none":
            pooled = Dropout(self.dropout)(pooled)
        pooled = ACTIVATIONS[self.activation](pooled)
        return self.config.dense(self.classes, "dense", bias=self.bias)(pooled).astype(jnp.float32)


class TokenClassHead(nn.Module):
    """The class of every token, after dropout: [B, S, H] to [B, S, C], float32 (BERT, section 5.3)."""

    config: TransformerConfig
    classes: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, encoded):
        x = Dropout(self.dropout)(encoded)
        return self.config.dense(self.classes, "dense")(x).astype(jnp.float32)


class SpanHead(nn.Module):
    """Is this token the first, is it the last of the answer? [B, S, H] to [B, S, 2], float32 (BERT, section 4.2)."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, encoded):
        return self.config.dense(2, "dense")(encoded).astype(jnp.float32)


class ReplacedHead(nn.Module):
    """dense, activation, dense to one logit: was this token replaced? [B, S, H] to [B, S], float32.

    ELECTRA's formula has no hidden layer (section 2); its code has one (run_pretraining.py), and its last
    dense layer starts as TensorFlow's default does.
    """

    config: TransformerConfig

    @nn.compact
    def __call__(self, x):
        config = self.config
        x = ACTIVATIONS[config.activation](config.dense(config.hidden_size, "dense")(x))
        logit = config.dense(1, "logit", kernel_init=nn.initializers.glorot_uniform())(x)
        return logit[..., 0].astype(jnp.float32)


class Projection(nn.Module):
    """The embeddings and all layers' states at the teacher's width: [L + 1, B, S, H] to [L + 1, B, S, T].

    TinyBERT, equations 8 and 9: W_e for the embeddings and W_h for all layers (`kind` 'two'). The released code
    (transformer/modeling.py, fit_dense) has 'one' dense layer, with a bias, for both; its second version 'each'
    state's own. 'none' leaves them as they are.
    """

    config: TransformerConfig
    kind: str
    width: int  # T

    @nn.compact
    def __call__(self, states):
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
    """The reward that REINFORCE expects at a position (ELECTRA, appendix F): [B, P, H] to a logit [B, P]."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x):
        return self.config.dense(1, "dense")(x)[..., 0].astype(jnp.float32)
