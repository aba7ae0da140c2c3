"""JAX and SciPy, imported at their first use: each takes about a second, and a config is checked and refused before that."""

import importlib


class Lazy:
    """Stands for a module; `lazy.name` is the module's `name`."""

    def __init__(self, module):
        self.__module = module

    def __getattr__(self, name):
        return getattr(importlib.import_module(self.__module), name)


jax, jnp, lax, optax = Lazy("jax"), Lazy("jax.numpy"), Lazy("jax.lax"), Lazy("optax")
sharding = Lazy("jax.sharding")
optimize, stats = Lazy("scipy.optimize"), Lazy("scipy.stats")
