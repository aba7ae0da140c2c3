"""The weights of `transformers`' GPT-1, GPT-2 and GPT-Neo as our parameter tree."""

import numpy as np

from tests.reference.transformers_weights import attention, dense, norm, stack


def gpt1_parameters(weights, config):
    """Weights of OpenAIGPTLMHeadModel."""
    return {
        "embeddings": {
            "token": weights["transformer.tokens_embed.weight"],
            "position": weights["transformer.positions_embed.weight"],
        },
        "encoder": {"layers": stack([_layer(weights, number, config.heads) for number in range(config.layers)])},
    }


def gpt2_parameters(weights, config):
    """Weights of GPT2LMHeadModel."""
    return _tables_and_final_norm(weights, [_layer(weights, number, config.heads) for number in range(config.layers)])


def gpt_neo_parameters(weights, config, gradients=False):
    """Weights of GPTNeoForCausalLM, whose layers need biases in query, key and value.

    It does not divide scores by sqrt(head size): our queries have to be so much larger, and their gradients
    (`gradients`) are so much smaller.
    """
    scale = config.head_size ** (-0.5 if gradients else 0.5)

    def layer(name):
        parts = [dense(weights, f"{name}.attn.attention.{part}")
                 for part in ("q_proj", "k_proj", "v_proj", "out_proj")]  # fmt: skip
        parts[0] = {key: value * np.float32(scale) for key, value in parts[0].items()}
        return {
            "attention": attention(*parts, config.heads),
            "attention_norm": norm(weights, f"{name}.ln_1"),
            "ffn": {"inner": dense(weights, f"{name}.mlp.c_fc"), "output": dense(weights, f"{name}.mlp.c_proj")},
            "ffn_norm": norm(weights, f"{name}.ln_2"),
        }

    return _tables_and_final_norm(weights, [layer(f"transformer.h.{number}") for number in range(config.layers)])


def _tables_and_final_norm(weights, layers):
    return {
        "embeddings": {"token": weights["transformer.wte.weight"], "position": weights["transformer.wpe.weight"]},
        "encoder": {"layers": stack(layers), "final_norm": norm(weights, "transformer.ln_f")},
    }


def _layer(weights, number, heads):
    """A layer of GPT-1 and GPT-2, where query, key and value are one dense layer."""
    name = f"transformer.h.{number}"

    def conv(part):
        return dense(weights, f"{name}.{part}", transposed=False)

    together = conv("attn.c_attn")
    thirds = zip(*(np.split(together[key], 3, axis=-1) for key in ("kernel", "bias")), strict=True)
    parts = [{"kernel": kernel, "bias": bias} for kernel, bias in thirds]
    return {
        "attention": attention(*parts, conv("attn.c_proj"), heads),
        "attention_norm": norm(weights, f"{name}.ln_1"),
        "ffn": {"inner": conv("mlp.c_fc"), "output": conv("mlp.c_proj")},
        "ffn_norm": norm(weights, f"{name}.ln_2"),
    }
