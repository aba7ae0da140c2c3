"""jax 0.10.2 compiles a small program into a wrong one on CPUs (jax#39103); setup.cfg keeps it out."""

import jax
import jax.numpy as jnp
import numpy as np
from packaging.requirements import Requirement


def test_jit_of_a_vmapped_sum_of_squares_is_right():
    rows = np.zeros((32769, 3), np.float32)
    rows[:, 0] = np.arange(32769)
    last = jax.jit(jax.vmap(lambda row: jnp.sum((jnp.eye(3) @ row) ** 2)))(rows)[-1]
    assert float(last) == 32768.0**2, (
        f"jax {jax.__version__} miscompiles (0.10.2 gives 1071645696 here): install jax 0.9.2 or 0.11 and later"
    )


def test_setup_cfg_refuses_the_broken_versions(root):
    line = next(line for line in (root / "setup.cfg").read_text().splitlines() if line.strip().startswith("jax>="))
    refused = Requirement(line.strip()).specifier
    assert not any(version in refused for version in ("0.10.0", "0.10.1", "0.10.2"))
    assert "0.9.2" in refused and "0.11.0" in refused
