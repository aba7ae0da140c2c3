"""A model: a trunk, for ELECTRA also a generator, and the heads that the config's losses read."""

import flax.linen as nn
import jax.numpy as jnp

from ssl_jax import corruption
from ssl_jax.models import heads
from ssl_jax.models.mqan import Mqan
from ssl_jax.models.recurrent import Recurrent
from ssl_jax.models.spec import COVE_SIZE, GENERATOR_HEADS, Generator, HeadOptions, model_fields, mqan_options
from ssl_jax.models.transformer import Embeddings, Transformer, TransformerConfig


class Model(nn.Module):
    """Trunk and heads; a call returns `out`, a dict of everything computed in one forward pass."""

    config: TransformerConfig
    heads: tuple[str, ...]  # of heads.HEADS
    generator: Generator | None = None
    options: HeadOptions = HeadOptions()

    @property
    def orders(self):
        """Number of consecutive rows per example that 'classes' reads together."""
        return self.options.orders

    @property
    def predictor(self):
        """The trunk under the 'mlm' head: the generator's, if the model has one."""
        return self.config if self.generator is None else self.generator.trunk

    @property
    def language(self):
        """The head that is the trunk's own language model; outside of `apply`, a fresh copy of the module."""
        name = "clm" if "clm" in self.heads else "mlm"
        return heads.HEADS[name].build(self) if self.scope is None else getattr(self, name)

    def setup(self):
        config, generator, options = self.config, self.generator, self.options
        self.embeddings = Embeddings(config)
        self.encoder = Recurrent(config) if config.lstm else Transformer(config)
        if generator is not None:
            # Sharing is using the same module twice.
            tied_tables, tied_trunk = generator.tying != "none", generator.tying == "all"
            self.generator_embeddings = self.embeddings if tied_tables else Embeddings(generator.trunk)
            self.generator_encoder = self.encoder if tied_trunk else Transformer(generator.trunk)
        self.features = heads.Features(config, *options.reading)
        if config.pooler != "none":
            self.pooler = heads.Pooler(config, bidirectional=options.lstm > 0)
        for name, head in heads.HEADS.items():
            if name in self.heads:
                setattr(self, head.name, head.build(self))  # the attribute names the parameters

    def read(self, names, seen):
        """Runs the heads in `names` that the model has; returns their entries of `out`."""
        out = {}
        for name, head in heads.HEADS.items():
            if name in self.heads and name in names:
                out |= getattr(self, head.name)(seen)
        return out

    def __call__(self, batch, cache=None):
        """Runs one forward pass.

        Args:
          batch: from data and corruption, see docs/design.md; `position_ids` [B, S] if positions are not the columns.
          cache: see `Transformer`.

        Returns:
          The trunk's dict and, by head, `pooled` [B, H] (or [B, F], see `heads.Pooler`), `pair_logits` [B, 2],
          `class_logits` [B / orders, C], `choice_logit` [B],
          `token_class_logits` [B, S, C], `span_logits` [B, S, 2] (first, last), the output of `heads.JointSpanHead`,
          `mlm_logits`, `clm_logits` and `restored_logits` [B, P, V], `copied_logits` [B, S, V] and `copy_logit` [B, S],
          `replaced_logit` [B, S], `token_logits` [B, S, V] (MLM or CLM); instead of "logits" each of these but
          `copied_logits` has a `Decoding`; `fitted` [L + 1, B, S, T], the embeddings and all layers' states at a
          teacher's width. If tokens are replaced, also `samples` [B, P], `tokens` [B, S] as the trunk saw them, and
          `replaced` [B, S], true where they differ from the original. The heads
          on P positions run at `batch['positions']` [B, P], or at all S without that key.
        """
        generated = {}
        if self.generator is not None:
            generated = self.generate(batch)
        elif "replacements" in batch:
            generated["samples"] = batch["replacements"]
        if "samples" in generated and "positions" in batch:
            average = self.generator is not None and self.generator.average_duplicates
            tokens = corruption.replace(
                batch["original"], batch["positions"], batch["weights"], generated["samples"], average
            )
            generated |= {"tokens": tokens, "replaced": tokens != batch["original"]}
            batch = batch | {"tokens": tokens}

        embedded, table = self.embeddings(batch)
        out = self.encoder(embedded, batch, cache) | generated
        features = self.features(out, batch["mask"])
        if self.config.pooler != "none":
            out["pooled"] = self.pooler(features, batch["mask"])
        seen = heads.Seen(batch, out, table, features, out.get("pooled"))
        return out | self.read({*self.heads} - ({*GENERATOR_HEADS} if self.generator is not None else set()), seen)

    def generate(self, batch):
        """Runs the generator on the masked batch: `mlm_logits`, `samples`, `baseline_logit`."""
        embedded, table = self.generator_embeddings(batch)
        out = self.read(GENERATOR_HEADS, heads.Seen(batch, self.generator_encoder(embedded, batch), table))
        if "keys" in batch:
            del out["mlm_decoding"]  # sampling needs all logits at once, so the loss may as well
            out["samples"] = corruption.sample(out["mlm_logits"], batch["keys"], self.generator.temperature)
        return out


def dummy_batch(orders=1):
    """The smallest batch that can initialise a model with `orders` rows per example, or an `Mqan`."""
    rows = {name: jnp.zeros((orders, 1), jnp.int32) for name in ("tokens", "mask", "segments")}
    rows |= {name: jnp.zeros((orders, 1), jnp.int32) for name in ("question", "question_mask")}
    rows |= {name: jnp.zeros((orders, 2), jnp.int32) for name in ("answer", "answer_mask")}
    rows |= {name: jnp.zeros((orders, 1, COVE_SIZE)) for name in ("context_cove", "question_cove")}
    rows |= {"span": jnp.zeros((1, 2), jnp.int32), "token_label": jnp.zeros((1, 1), jnp.int32)}
    return rows | {name: jnp.zeros(1, jnp.int32) for name in ("pair", "index", "label", "impossible")}


def flatten_choices(batch):
    """Flattens examples of C choices, [B, C, S], to C consecutive rows each, [B * C, S], for the trunk.

    A pair in both orders is two rows as well. Per-example entries, [B], are unchanged; so is a batch with one row
    per example.
    """
    if batch["tokens"].ndim == 2:
        return batch
    return {name: x.reshape(-1, x.shape[-1]) if x.ndim == 3 else x for name, x in batch.items()}


def build_model(config):
    """Builds the module for a run's config; fields and errors are those of `spec.model_fields` and `spec.mqan_options`."""
    trunk, *others = model_fields(config, TransformerConfig)
    return Mqan(trunk, mqan_options(config)) if trunk.network == "mqan" else Model(trunk, *others)
