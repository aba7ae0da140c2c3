"""`transformers`' AlbertForPreTraining weights as our parameter tree."""

from tests.reference.transformers_weights import attention, dense, embeddings, norm, stack


def parameters(weights, config):
    """Weights of AlbertForPreTraining (inner_group_num 1) as the tree of a `Model` whose trunk is `config`."""

    def group(name):
        parts = [dense(weights, f"{name}.attention.{part}") for part in ("query", "key", "value", "dense")]
        return {
            "attention": attention(*parts, config.heads),
            "attention_norm": norm(weights, f"{name}.attention.LayerNorm"),
            "ffn": {"inner": dense(weights, f"{name}.ffn"), "output": dense(weights, f"{name}.ffn_output")},
            "ffn_norm": norm(weights, f"{name}.full_layer_layer_norm"),
        }

    name = "albert.encoder.albert_layer_groups.{}.albert_layers.0"
    return {
        "embeddings": embeddings(weights, "albert.embeddings"),
        "encoder": {
            "projection": dense(weights, "albert.encoder.embedding_hidden_mapping_in"),
            "layers": stack([group(name.format(number)) for number in range(config.share_groups)]),
        },
        "pooler": {"dense": dense(weights, "albert.pooler")},
        "mlm": {
            "dense": dense(weights, "predictions.dense"),
            "norm": norm(weights, "predictions.LayerNorm"),
            "bias": weights["predictions.bias"],
        },
        "pair": {"dense": dense(weights, "sop_classifier.classifier")},
    }
