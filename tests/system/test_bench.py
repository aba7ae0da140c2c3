"""scripts/bench.py on tiny shapes: what it measures is written as it comes, and not measured again unless it failed."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.timeout(1800)  # for hangs


def test_both_sides_are_measured_once_and_reported(root, tmp_path):
    kept = tmp_path / "bench.jsonl"
    command = [sys.executable, root / "scripts/bench.py", "--smoke", "--rounds", "1", "--output", kept]
    command += ["--row", "electra-small", "--side", "ours", "--side", "torch eager"]

    def bench():
        return subprocess.run([*map(str, command)], capture_output=True, text=True, check=True).stdout

    first = bench()
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [(line["row"], line["side"], line["round"]) for line in lines] == [
        ("electra-small", "ours", 0),
        ("electra-small", "torch eager", 0),
    ]
    for line in lines:
        assert len(line["seconds"]) == 10 and min(line["seconds"]) > 0 and line["first"] > 0
        assert line["peak_bytes"] > 1e8 and line["jax"] and line["torch"]
    assert "torch eager / ours: " in first and "4 x 16" in first

    failed = {key: lines[1][key] for key in ("row", "side", "round")} | {"error": "out of memory"}
    kept.write_text("".join(json.dumps(line) + "\n" for line in (lines[0], failed)))
    assert "torch eager / ours: " in bench()
    again = [json.loads(line) for line in kept.read_text().splitlines()]
    assert again[:2] == [lines[0], failed] and len(again) == 3  # what failed is measured again, and nothing else
