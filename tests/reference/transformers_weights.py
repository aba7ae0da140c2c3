"""`transformers`' weights, name -> NumPy array, as parts of our parameter tree. Gradients convert alike."""

import numpy as np


def dense(weights, name, transposed=True):
    """`torch.nn.Linear` holds its kernel transposed, the GPTs' `Conv1D` does not."""
    kernel = weights[f"{name}.weight"]
    return {"kernel": kernel.T if transposed else kernel, "bias": weights[f"{name}.bias"]}


def norm(weights, name):
    return {"scale": weights[f"{name}.weight"], "bias": weights[f"{name}.bias"]}


def attention(query, key, value, output, heads):
    """Four dense layers with the axis of heads cut in two."""

    def cut(layer):
        return {"kernel": layer["kernel"].reshape(-1, heads, layer["bias"].size // heads),
                "bias": layer["bias"].reshape(heads, -1)}  # fmt: skip

    made = {name: cut(layer) for name, layer in (("query", query), ("key", key), ("value", value))}
    kernel = output["kernel"].reshape(heads, -1, output["bias"].size)
    return made | {"output": {"kernel": kernel, "bias": output["bias"]}}


def stack(trees):
    """Trees of one layer each as one tree with a leading axis of layers."""
    if isinstance(trees[0], dict):
        return {key: stack([tree[key] for tree in trees]) for key in trees[0]}
    return np.stack(trees)


def embeddings(weights, prefix):
    """The tables and the norm of BERT, ALBERT and ELECTRA."""
    table = f"{prefix}.{{}}_embeddings.weight"
    return {
        "token": weights[table.format("word")],
        "position": weights[table.format("position")],
        "segment": weights[table.format("token_type")],
        "norm": norm(weights, f"{prefix}.LayerNorm"),
    }


def bert_layers(weights, prefix, layers, heads):
    """`layer.0` and so on of BERT and ELECTRA."""

    def layer(name):
        parts = [dense(weights, f"{name}.attention.{part}")
                 for part in ("self.query", "self.key", "self.value", "output.dense")]  # fmt: skip
        return {
            "attention": attention(*parts, heads),
            "attention_norm": norm(weights, f"{name}.attention.output.LayerNorm"),
            "ffn": {
                "inner": dense(weights, f"{name}.intermediate.dense"),
                "output": dense(weights, f"{name}.output.dense"),
            },
            "ffn_norm": norm(weights, f"{name}.output.LayerNorm"),
        }

    return stack([layer(f"{prefix}.{number}") for number in range(layers)])
