"""`transformers`' ElectraForMaskedLM and ElectraForPreTraining as our one parameter tree."""

from tests.reference.transformers_weights import bert_layers, dense, embeddings, norm


def parameters(weights, model):
    """Weights of `generator` and `discriminator`, which share the embeddings, as the tree of `model`."""

    def trunk(name, config):
        return {
            "projection": dense(weights, f"{name}.electra.embeddings_project"),
            "layers": bert_layers(weights, f"{name}.electra.encoder.layer", config.layers, config.heads),
        }

    head = "discriminator.discriminator_predictions"
    return {
        "embeddings": embeddings(weights, "generator.electra.embeddings"),
        "encoder": trunk("discriminator", model.config),
        "generator_encoder": trunk("generator", model.generator.trunk),
        "mlm": {
            "dense": dense(weights, "generator.generator_predictions.dense"),
            "norm": norm(weights, "generator.generator_predictions.LayerNorm"),
            "bias": weights["generator.generator_lm_head.bias"],
        },
        "replaced": {"dense": dense(weights, f"{head}.dense"), "logit": dense(weights, f"{head}.dense_prediction")},
    }
