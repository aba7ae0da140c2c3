"""An LSTM in the Transformer's place: the baseline of GPT-1's Table 5."""

import flax.linen as nn
import jax.numpy as jnp

from ssl_jax.models.transformer import Dropout, TransformerConfig


class Recurrent(nn.Module):
    """One layer of `config.lstm` units that reads from left to right, and a projection to the hidden size.

    The paper has "a single layer 2048 unit LSTM using the same framework" (section 5), and nothing else of it: the
    embeddings with their positions, the dropout after the layer and the tied output are the Transformer's; that the
    output needs a projection from 2048 to the tables' width follows. Attention's part of a batch is not read: it sees
    all that is on its left, so examples are not packed with document masks.
    """

    config: TransformerConfig

    @nn.compact
    def __call__(self, embedded, batch, cache=None):
        """As `Transformer`: [B, S, E] to a dict of `embedded` and `encoded` [B, S, H], and `layers`' `hidden` [1, B, S, H].

        `cache` must be None: text is not generated (`generate.prepare` refuses it).
        """
        del cache
        config = self.config
        x = nn.RNN(nn.OptimizedLSTMCell(config.lstm, dtype=config.dtype, name="cell"))(embedded)
        x = config.dense(config.hidden_size, "output")(jnp.asarray(x, config.dtype))
        x = Dropout(config.dropout)(x, batch.get("index"))
        return {"embedded": embedded, "layers": {"hidden": x[None]}, "encoded": x}
