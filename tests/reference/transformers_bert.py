"""`transformers`' BertForPreTraining weights as our parameter tree, for comparing the two."""

import numpy as np

from configs import common


def model_config(**changes):
    """Fields of a small BERT, head size not a divisor of 64, as `config.model` states them."""
    fields = common.base().model.to_dict()
    fields |= dict(
        vocab_size=61, layers=3, hidden_size=36, heads=3, ffn_size=52, positions=24, segments=2, norm="post",
        embedding_norm=True, norm_epsilon=1e-12, activation="gelu", pooler=True, dropout=0.0, attention_dropout=0.0,
    )  # fmt: skip
    return fields | changes


def parameters(weights, layers, heads):
    """`state_dict()` of BertForPreTraining, as name -> NumPy array, to the tree of `Model`."""

    def kernel(name):
        return weights[f"{name}.weight"].T

    def dense(name):
        return {"kernel": kernel(name), "bias": weights[f"{name}.bias"]}

    def norm(name):
        return {"scale": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"]}

    def layer(number):
        prefix = f"bert.encoder.layer.{number}"
        hidden = weights[f"{prefix}.attention.self.query.bias"].size
        split = (heads, hidden // heads)
        attention = {
            name: {
                "kernel": kernel(f"{prefix}.attention.self.{name}").reshape(hidden, *split),
                "bias": weights[f"{prefix}.attention.self.{name}.bias"].reshape(split),
            }
            for name in ("query", "key", "value")
        }
        output = dense(f"{prefix}.attention.output.dense")
        attention["output"] = {"kernel": output["kernel"].reshape(*split, hidden), "bias": output["bias"]}
        return {
            "attention": attention,
            "attention_norm": norm(f"{prefix}.attention.output.LayerNorm"),
            "ffn": {"inner": dense(f"{prefix}.intermediate.dense"), "output": dense(f"{prefix}.output.dense")},
            "ffn_norm": norm(f"{prefix}.output.LayerNorm"),
        }

    def stack(trees):
        if isinstance(trees[0], dict):
            return {key: stack([tree[key] for tree in trees]) for key in trees[0]}
        return np.stack(trees)

    table = "bert.embeddings.{}_embeddings.weight"
    return {
        "embeddings": {
            "token": weights[table.format("word")],
            "position": weights[table.format("position")],
            "segment": weights[table.format("token_type")],
            "norm": norm("bert.embeddings.LayerNorm"),
        },
        "encoder": {"layers": stack([layer(number) for number in range(layers)])},
        "pooler": {"dense": dense("bert.pooler.dense")},
        "mlm": {
            "dense": dense("cls.predictions.transform.dense"),
            "norm": norm("cls.predictions.transform.LayerNorm"),
            "bias": weights["cls.predictions.bias"],
        },
        "pair": {"dense": dense("cls.seq_relationship")},
    }
