"""What reads the trunk: one module per kind of logits."""

import flax.linen as nn
import jax.numpy as jnp

from ssl_jax.models.transformer import ACTIVATIONS, TransformerConfig


class Pooler(nn.Module):
    """tanh(dense(first position)): [B, S, H] to [B, H] (BERT, modeling.py)."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, encoded):
        return jnp.tanh(self.config.dense(self.config.hidden_size, "dense")(encoded[:, 0]))


class MaskedLanguageHead(nn.Module):
    """dense, activation, norm, tied decoder with a bias: [..., H] to logits [..., V], float32."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, x, token_table):
        config = self.config
        x = config.dense(config.embedding_size, "dense")(x)
        x = config.layer_norm("norm")(ACTIVATIONS[config.activation](x))
        bias = self.param("bias", nn.initializers.zeros, (config.vocab_size,))
        table = token_table.astype(config.dtype)
        return jnp.einsum("...e,ve->...v", x, table, preferred_element_type=jnp.float32) + bias


class PairHead(nn.Module):
    """Two classes of sentence pair from the pooled vector: [B, H] to [B, 2], float32 (NSP, SOP)."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, pooled):
        return self.config.dense(2, "dense")(pooled).astype(jnp.float32)
