"""GPT-3 in plain NumPy and jnp, to be read against section 2.1 and appendix B.

Names and shapes are those of reference/bert.py.
"""

import jax.numpy as jnp

from tests.reference import bert, gpt1, gpt2


def loss(params, batch, layers=2, band=8):
    """Section 2.1: GPT-2 with dense and locally banded layers in turn; which come first is not said."""

    def encode(x, visible):
        place = jnp.arange(len(x))
        near = place[:, None] - place[None, :] < band
        for number in range(layers):
            seen = visible & near if number % 2 else visible
            x = gpt2.layer(bert.of(params, f"encoder/layers/{number}/"), x, seen)
        return bert.layer_norm(bert.of(params, "encoder/final_norm/"), x, 1e-5)

    return gpt1.next_token_loss(params, batch, encode)


def learning_rate(tokens, peak, all_tokens, warmup_tokens):
    """Appendix B: down to 10 % over 260 of the 300 billion tokens."""
    return gpt2.learning_rate(tokens, peak, all_tokens * 260 / 300, warmup_tokens)


step = gpt2.step  # appendix B: Adam .9, .95, 1e-8, decay .1, clip 1
