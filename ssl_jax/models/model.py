"""A model is a trunk, for ELECTRA a generator beside it, and the heads that the config's losses read."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssl_jax import corruption
from ssl_jax.models import heads
from ssl_jax.models.spec import Generator, model_fields
from ssl_jax.models.transformer import Embeddings, Transformer, TransformerConfig


class Model(nn.Module):
    """Trunk and heads; a call returns `out`, the dict of everything that one forward pass made."""

    config: TransformerConfig
    heads: tuple[str, ...]  # of spec.HEADS
    generator: Generator | None = None
    # How many; the activation before 'classes' and 'choice', and whether these have a bias, see `heads.ClassHead`.
    classes: tuple[int, str, bool] = (0, "none", True)
    projection: tuple[str, int] = ("none", 0)  # kind and width of 'fit', see `heads.Projection`
    dropout: float = 0.0  # before a task's classes or spans
    # Rows of an example, one after the other, whose pooled vectors are added up before 'classes' (GPT-1, section 3.3).
    orders: int = 1
    reading: tuple[str, int, int] = ("", 0, 0)  # what the heads of tasks read, see `heads.Features`
    spans: tuple[int, bool] = (0, False)  # beam and answerability of 'joint_span', see `heads.JointSpanHead`
    shared: int = 1  # choices, one after the other, that have one mask of dropout before 'choice'

    def setup(self):
        config, generator = self.config, self.generator
        self.embeddings = Embeddings(config)
        self.encoder = Transformer(config)
        masked_config = config
        if generator is not None:
            masked_config = generator.trunk
            # Sharing is using the same module twice.
            tied_tables, tied_trunk = generator.tying != "none", generator.tying == "all"
            self.generator_embeddings = self.embeddings if tied_tables else Embeddings(masked_config)
            self.generator_encoder = self.encoder if tied_trunk else Transformer(masked_config)
        self.features = heads.Features(config, *self.reading)
        if config.pooler != "none":
            self.pooler = heads.Pooler(config, bidirectional=self.reading[1] > 0)
        if "mlm" in self.heads:
            self.mlm = heads.MaskedLanguageHead(masked_config)
        if "clm" in self.heads:
            self.clm = heads.CausalLanguageHead(config)
        if "pair" in self.heads:
            self.pair = heads.PairHead(config)
        if "classes" in self.heads:
            self.classifier = heads.ClassHead(config, *self.classes, self.dropout)
        if "choice" in self.heads:
            self.choice = heads.ClassHead(config, 1, *self.classes[1:], self.dropout, self.shared)
        if "token_classes" in self.heads:
            self.token_classes = heads.TokenClassHead(config, self.classes[0], self.dropout)
        if "span" in self.heads:
            self.span = heads.SpanHead(config, self.dropout)
        if "joint_span" in self.heads:
            self.joint_span = heads.JointSpanHead(config, *self.spans)
        if "replaced" in self.heads:
            self.replaced = heads.ReplacedHead(config)
        if "restored" in self.heads:
            self.restored = heads.MaskedLanguageHead(config)
        if "copied" in self.heads:
            self.copied = heads.CopyingHead(config)
        if "baseline" in self.heads:
            self.baseline = heads.BaselineHead(masked_config)
        if "fit" in self.heads:
            self.fit = heads.Projection(config, *self.projection)

    def __call__(self, batch, cache=None):
        """Runs everything once.

        Args:
          batch: of data and corruption, see README; `position_ids` [B, S] where positions are not the columns.
          cache: see `Transformer`.

        Returns:
          The trunk's dict and, by head, `pooled` [B, H] (or [B, F], see `heads.Pooler`), `pair_logits` [B, 2],
          `class_logits` [B / orders, C], `choice_logit` [B],
          `token_class_logits` [B, S, C], `span_logits` [B, S, 2] (first, last), what `heads.JointSpanHead` gives,
          `mlm_logits`, `clm_logits` and `restored_logits` [B, P, V], `copied_logits` [B, S, V] and `copy_logit` [B, S],
          `replaced_logit` [B, S], `token_logits` [B, S, V] (masked or causal), `fitted` [L + 1, B, S, T], the embeddings
          and all layers' states at a teacher's width. Where tokens are replaced, also `samples` [B, P], `tokens` [B, S]
          as the trunk saw them, and `replaced` [B, S], true where they differ from the original. The heads
          on P positions run at `batch['positions']` [B, P], or at all S where there is no such key.
        """
        made = {}
        if self.generator is not None:
            made = self.generate(batch)
        elif "replacements" in batch:
            made["samples"] = batch["replacements"]
        if "samples" in made and "positions" in batch:
            average = self.generator is not None and self.generator.average_duplicates
            tokens = corruption.replace(
                batch["original"], batch["positions"], batch["weights"], made["samples"], average
            )
            made |= {"tokens": tokens, "replaced": tokens != batch["original"]}
            batch = batch | {"tokens": tokens}

        embedded, table = self.embeddings(batch)
        out = self.encoder(embedded, batch, cache) | made
        encoded, features, index = out["encoded"], self.features(out, batch["mask"]), batch.get("index")
        if self.config.pooler != "none":
            out["pooled"] = self.pooler(features, batch["mask"])
        if "pair" in self.heads:
            out["pair_logits"] = self.pair(out["pooled"])
        if "classes" in self.heads:
            pooled = out["pooled"]
            if self.orders > 1:
                pooled = pooled.reshape(-1, self.orders, pooled.shape[-1]).sum(1)
            out["class_logits"] = self.classifier(pooled, index)
        if "choice" in self.heads:
            out["choice_logit"] = self.choice(out["pooled"], index)[:, 0]
        if "token_classes" in self.heads:
            out["token_class_logits"] = self.token_classes(features, index)
        if "span" in self.heads:
            out["span_logits"] = self.span(features, index)
        if "joint_span" in self.heads:
            out |= self.joint_span(features, batch)
        if "mlm" in self.heads and self.generator is None:
            out["mlm_logits"] = self.mlm(at_positions(encoded, batch), table)
        if "clm" in self.heads:
            out["clm_logits"] = self.clm(at_positions(encoded, batch), table)
        if "replaced" in self.heads:
            out["replaced_logit"] = self.replaced(encoded)
        if "restored" in self.heads:
            out["restored_logits"] = self.restored(at_positions(encoded, batch), table)
        if "copied" in self.heads:
            out["copied_logits"], out["copy_logit"] = self.copied(encoded, table)
        if "tokens" in self.heads:
            out["token_logits"] = (self.clm if "clm" in self.heads else self.mlm)(encoded, table)
        if "fit" in self.heads:
            out["fitted"] = self.fit(jnp.concatenate([out["embedded"][None], out["layers"]["hidden"]]))
        return out

    def generate(self, batch):
        """What the generator makes of the masked batch: `mlm_logits`, `samples`, `baseline_logit`."""
        embedded, table = self.generator_embeddings(batch)
        encoded = self.generator_encoder(embedded, batch)["encoded"]
        x = at_positions(encoded, batch)
        made = {"mlm_logits": self.mlm(x, table)}
        if "keys" in batch:
            made["samples"] = corruption.sample(made["mlm_logits"], batch["keys"], self.generator.temperature)
        if "baseline" in self.heads:
            # The baseline learns to expect the reward; it must not change what it looks at.
            made["baseline_logit"] = self.baseline(jax.lax.stop_gradient(x))
        return made


def at_positions(x, batch):
    """[B, S, H] at `batch['positions']` [B, P], [B, P, H]; all of it where there is no such key."""
    if "positions" not in batch:
        return x
    # A product with one-hot rows: its gradient is a product too, not a scatter-add.
    rows = jax.nn.one_hot(batch["positions"], x.shape[1], dtype=x.dtype)
    return jnp.einsum("bps,bsh->bph", rows, x)


def dummy_batch(orders=1):
    """The smallest batch that a model with so many rows to an example can be initialised with."""
    rows = {name: jnp.zeros((orders, 1), jnp.int32) for name in ("tokens", "mask", "segments")}
    rows |= {"span": jnp.zeros((1, 2), jnp.int32), "token_label": jnp.zeros((1, 1), jnp.int32)}
    return rows | {name: jnp.zeros(1, jnp.int32) for name in ("pair", "index", "label", "impossible")}


def flatten_choices(batch):
    """The batch of the trunk: examples of C choices, [B, C, S], as C rows each, one after the other, [B * C, S].

    A pair in both orders is two rows as well. What an example has once, [B], stays as it is; so does a batch of one row
    an example.
    """
    if batch["tokens"].ndim == 2:
        return batch
    return {name: x.reshape(-1, x.shape[-1]) if x.ndim == 3 else x for name, x in batch.items()}


def build_model(config):
    """The module for a run's config; fields and errors are those of `spec.model_fields`."""
    return Model(*model_fields(config, TransformerConfig))
