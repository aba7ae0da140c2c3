"""EleutherAI's lm-evaluation-harness with a run as its model (extra `harness`).

    python scripts/harness.py --model ssl_jax --model_args workdir=runs/gpt2 --tasks lambada_openai,wikitext
    python scripts/harness.py --model ssl_jax --model_args workdir=W --include_path FOLDER --tasks OURS --batch_size 32

All flags are those of the command `lm_eval`, which finds no models of other packages by itself, unless one of the task files
in configs/harness is asked, too; `workdir` is also a folder of transformers.
"""

import sys

from ssl_jax.errors import UserError


def main():
    try:
        from lm_eval.__main__ import cli_evaluate

        from ssl_jax.inference import lm_eval  # noqa: F401  registers the model
    except ImportError as error:
        raise UserError(f"the harness needs {error.name}: pip install -e '.[harness]'") from error
    cli_evaluate()


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
