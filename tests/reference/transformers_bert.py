"""`transformers`' BertForPreTraining weights as our parameter tree, for comparing the two."""

from ssl_jax.config import base
from tests.reference.transformers_weights import bert_layers, dense, embeddings, norm


def model_config(**changes):
    """Fields of a small BERT, head size not a divisor of 64, as `config.model` states them."""
    fields = base().model.to_dict()
    fields |= dict(
        vocab_size=61, layers=3, hidden_size=36, heads=3, ffn_size=52, max_positions=24, type_vocab_size=2, norm="post",
        embedding_norm=True, norm_epsilon=1e-12, activation="gelu", pooler="tanh", dropout=0.0, attention_dropout=0.0,
    )  # fmt: skip
    return fields | changes


def parameters(weights, config):
    """Weights of BertForPreTraining as the tree of a `Model` whose trunk is `config`."""
    return {
        "embeddings": embeddings(weights, "bert.embeddings"),
        "encoder": {"layers": bert_layers(weights, "bert.encoder.layer", config.layers, config.heads)},
        "pooler": {"dense": dense(weights, "bert.pooler.dense")},
        "mlm": {
            "dense": dense(weights, "cls.predictions.transform.dense"),
            "norm": norm(weights, "cls.predictions.transform.LayerNorm"),
            "bias": weights["cls.predictions.bias"],
        },
        "pair": {"dense": dense(weights, "cls.seq_relationship")},
    }
