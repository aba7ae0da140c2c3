"""Checkpoints' hashes of arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import checkpoints

SHAPES = ((), (1,), (0,), (7,), (3, 5), (2, 3, 4), (17, 1, 9))


def plain(x):
    """The hash, element by element with Python's integers."""
    total, whole = 0, 1 << 32
    for number, bits in enumerate(np.asarray(x).reshape(-1).view(f"uint{8 * x.dtype.itemsize}").tolist()):
        product = bits * (2 * number + 1) % whole
        mixed = (product ^ (product >> 15)) * 0x9E3779B1 % whole
        total += mixed ^ (mixed >> 13)
    return total % whole


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.int32, jnp.uint32])
def test_a_hash_is_the_same_on_the_host_on_a_device_and_by_a_loop(dtype):
    random = np.random.default_rng(0)
    arrays = [np.asarray(1000 * random.normal(size=shape)).astype(np.int32).astype(dtype) for shape in SHAPES]
    expected = [plain(x) for x in arrays]
    assert len(set(expected)) == len(SHAPES)
    assert checkpoints.fingerprint([arrays[0][()]]) == expected[:1]  # a scalar of NumPy's
    for tree in (arrays, jax.tree.map(jnp.asarray, arrays)):
        assert checkpoints.fingerprint(tree).tolist() == expected
        assert [int(checkpoints._sum_on_device(x)) for x in tree] == expected
