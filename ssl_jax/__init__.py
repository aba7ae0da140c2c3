"""Self-supervised pre-training papers as configs of one model, one loop and one data path.

import ssl_jax
run = ssl_jax.load_run("runs/bert")  # or a folder of transformers; then see ssl_jax/predict.py
"""

__version__ = "0.1.0"


def __getattr__(name):
    # On first use: importing JAX takes a second, which --help need not wait for.
    if name == "load_run":
        from ssl_jax.load import load_run

        return load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
