"""The LSTM trunk: torch's, causal, and trained as any other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from configs import gpt1
from ssl_jax.describe import describe
from ssl_jax.errors import UserError
from ssl_jax.inference import generate, scoring
from ssl_jax.load import load_run
from ssl_jax.models.recurrent import Recurrent
from ssl_jax.models.transformer import TransformerConfig
from ssl_jax.train import train

pytestmark = pytest.mark.slow  # compiles programs, or trains


def small(**changes):
    return TransformerConfig(
        **dict(vocab_size=11, layers=1, hidden_size=6, heads=1, lstm=5, causal=True, dropout=0.0) | changes
    )


def test_states_are_those_of_torchs_lstm():
    config = small()
    x = np.random.default_rng(0).normal(size=(2, 7, 6)).astype(np.float32)
    params = jax.jit(Recurrent(config).init)(jax.random.key(0), x, {})["params"]
    params = jax.tree.map(lambda p: p + 0.1, params)  # biases start at zero
    found = jax.jit(Recurrent(config).apply)({"params": params}, x, {})["encoded"]
    theirs, cell = torch.nn.LSTM(6, 5, batch_first=True), params["cell"]
    gates = "ifgo"  # torch's order
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(
            torch.tensor(np.concatenate([np.asarray(cell[f"i{gate}"]["kernel"]).T for gate in gates]))
        )
        theirs.weight_hh_l0.copy_(
            torch.tensor(np.concatenate([np.asarray(cell[f"h{gate}"]["kernel"]).T for gate in gates]))
        )
        theirs.bias_hh_l0.copy_(torch.tensor(np.concatenate([np.asarray(cell[f"h{gate}"]["bias"]) for gate in gates])))
        theirs.bias_ih_l0.zero_()
        states, _ = theirs(torch.tensor(x))
    expected = states.numpy() @ np.asarray(params["output"]["kernel"]) + np.asarray(params["output"]["bias"])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_no_position_reads_what_comes_after_it():
    config = small()
    x = jnp.ones((1, 7, 6)) * jnp.arange(7)[:, None]
    params = jax.jit(Recurrent(config).init)(jax.random.key(0), x, {})
    moved = jax.jit(jax.jacobian(lambda x: Recurrent(config).apply(params, x, {})["encoded"].sum(-1)[0]))(x)[:, 0].any(
        -1
    )
    np.testing.assert_array_equal(moved, np.tri(7, dtype=bool))


def test_the_size_is_the_papers():
    made = describe(gpt1.get_config("lstm"))
    gates = 4 * 2048 * (768 + 2048 + 1)
    tables = (40478 + 512) * 768  # shared with the output
    assert made["parameters"] == tables + gates + 2048 * 768 + 768
    count = made["phases"][0]["flops_per_token"]
    assert count == pytest.approx(6 * (gates - 4 * 2048 + 2048 * 768 + 40478 * 768), rel=1e-6)


@pytest.mark.parametrize("changes", [dict(causal=False), dict(layers=2), dict(embedding_size=3)])
def test_what_it_is_not_is_refused(changes):
    with pytest.raises(UserError, match="model.lstm reads from left to right, in one layer"):
        small(**changes)


def test_it_is_trained_scores_texts_and_refuses_to_write(data_root, tmp_path):
    config = gpt1.get_config("lstm,smoke")
    config.data.root = data_root
    config.parallel.devices = 1
    train(config, tmp_path)
    run = load_run(tmp_path)
    [found] = scoring.log_likelihoods(run, [("the fox", " jumps over")])
    assert found[0] < 0
    with pytest.raises(UserError, match="its trunk is an LSTM"):
        generate.generate(run, ["the fox"], max_tokens=2)
