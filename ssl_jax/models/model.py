"""A model is a trunk and the heads that the config's losses read."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssl_jax import objectives
from ssl_jax.errors import UserError
from ssl_jax.models.heads import MaskedLanguageHead, PairHead, Pooler
from ssl_jax.models.transformer import Transformer, TransformerConfig


class Model(nn.Module):
    """Trunk and heads; a call returns `out`, the dict of everything that one forward pass made."""

    config: TransformerConfig
    heads: tuple[str, ...]  # of 'mlm', 'pair'

    def setup(self):
        self.encoder = Transformer(self.config)
        if self.config.pooler:
            self.pooler = Pooler(self.config)
        if "mlm" in self.heads:
            self.mlm = MaskedLanguageHead(self.config)
        if "pair" in self.heads:
            self.pair = PairHead(self.config)

    def __call__(self, batch):
        """Returns the trunk's dict and `pooled` [B, H], `mlm_logits` [B, P, V], `pair_logits` [B, 2].

        The masked-LM head runs at `batch['positions']` [B, P] alone, where there is that key, and at
        all S positions otherwise.
        """
        out = self.encoder(batch)
        if self.config.pooler:
            out["pooled"] = self.pooler(out["encoded"])
        if "mlm" in self.heads:
            x = out["encoded"]
            if "positions" in batch:
                # A product with one-hot rows: its gradient is a product too, not a scatter-add.
                rows = jax.nn.one_hot(batch["positions"], x.shape[1], dtype=x.dtype)
                x = jnp.einsum("bps,bsh->bph", rows, x)
            out["mlm_logits"] = self.mlm(x, self.encoder.embeddings.token)
        if "pair" in self.heads:
            out["pair_logits"] = self.pair(out["pooled"])
        return out


def build_model(config):
    """The module for a run's config: `config.model`'s trunk with the heads that `config.losses` read.

    Raises:
      UserError: the trunk is none (`TransformerConfig`), or a pair head has no pooled vector to read.
    """
    heads = {objectives.HEADS[name] for name, weight in config.losses.items() if weight}
    if "pair" in heads and not config.model.pooler:
        raise UserError("losses on sentence pairs read the pooled vector: set model.pooler=True or their weight to 0")
    fields = {field.name for field in dataclasses.fields(TransformerConfig)}
    return Model(
        TransformerConfig(**{name: config.model[name] for name in fields}), tuple(sorted(heads))
    )
