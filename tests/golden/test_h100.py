"""What a step takes of a GPU, without one: memory and attention kernels of programs compiled for an H100.

Needs jax-cuda12-plugin of jax's version (`pip install jax-cuda12-plugin==0.9.2`, 160 MB, in an environment of its own:
where it is installed JAX looks for a GPU at every start). Without it the tests are skipped.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(not importlib.util.find_spec("jax_cuda12_plugin"), reason="no jax-cuda12-plugin"),
    pytest.mark.timeout(1800),  # for hangs
]
HERE = Path(__file__).parent
SHORT = ["8", "256", "model.layers=2", "phases.lengths=(256,)"]
FUSED = ["model.attention='fused'", "model.attention_dropout=0.0"]
STEPS = {
    "GPT-2": ["gpt2:small", *SHORT, "run.logit_pieces=1"],
    "GPT-2, fused": ["gpt2:small", *SHORT, *FUSED, "run.logit_pieces=1"],
    "GPT-2, fused, logits in pieces": ["gpt2:small", *SHORT, *FUSED, "run.logit_pieces=8"],
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_for_an_h100_takes_the_memory_and_kernels_that_it_took(name, root, request):
    done = subprocess.run(
        [sys.executable, HERE / "h100.py", *STEPS[name]],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    made, path = json.loads(done.stdout.splitlines()[-1]), HERE / "h100.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    if request.config.getoption("--update-golden"):
        path.write_text(json.dumps(known | {name: made}, indent=1) + "\n")
        return
    assert made["attention"] == known[name]["attention"]
    for part in ("temporaries", "arguments", "aliased"):
        assert made[part] == pytest.approx(known[name][part], rel=0.05), part
