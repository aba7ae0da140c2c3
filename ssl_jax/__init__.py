"""Self-supervised pre-training papers as configs of one model, one loop and one data path."""

__version__ = "0.1.0"
