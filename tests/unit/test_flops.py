"""Peaks of devices, and what a run reports where there is one and where there is none."""

import importlib
import time

import numpy as np
import pytest

from configs import bert, electra, gpt3
from ssl_jax import flops, logs
from ssl_jax.describe import describe
from ssl_jax.meter import Meter
from ssl_jax.models.model import build_model
from ssl_jax.plan import predictions_per_sequence

# The names that CUDA and libtpu give devices; TFLOP/s in bfloat16 and float32.
DEVICES = {
    "NVIDIA A100-SXM4-40GB": (312, 156), "NVIDIA A100-PCIE-40GB": (312, 156), "NVIDIA A100 80GB PCIe": (312, 156),
    "NVIDIA H100 80GB HBM3": (989.4, 494.7), "NVIDIA H100 PCIe": (756, 378), "NVIDIA H200": (989.4, 494.7),
    "NVIDIA L4": (121, 60), "Tesla T4": (None, 8.1), "Tesla V100-SXM2-16GB": (None, 15.7),
    "Tesla V100-PCIE-32GB": (None, 14), "Tesla V100S-PCIE-32GB": (None, 16.4),
    "TPU v2": (22.5, 22.5), "TPU v3": (61.5, 61.5), "TPU v4": (275, 275), "TPU v5 lite": (197, 197), "TPU v5e": (197, 197),
    "TPU v5": (459, 459), "TPU v5p": (459, 459), "TPU v6 lite": (918, 918), "TPU v6e": (918, 918),
    # Others, and parts of a GPU.
    "cpu": (None, None), "NVIDIA L40": (None, None), "NVIDIA A10": (None, None), "NVIDIA H200 NVL": (None, None),
    "NVIDIA A100-SXM4-40GB MIG 1g.5gb": (None, None), "NVIDIA H100 80GB HBM3 MIG 1g.10gb": (None, None),
    "TPU v4 lite": (None, None),
}  # fmt: skip


@pytest.mark.parametrize("kind", DEVICES)
def test_the_peak_of_a_device_is_its_makers(kind):
    peaks = [flops.peak_flops(kind, dtype) for dtype in ("bfloat16", "float32")]
    assert peaks == [None if peak is None else pytest.approx(peak * 1e12) for peak in DEVICES[kind]]


@pytest.mark.parametrize("peak", [None, 2e9])
def test_mfu_is_the_share_of_the_peak_of_all_devices_and_left_out_where_there_is_none(peak, smoke_config, monkeypatch):
    monkeypatch.setattr(flops, "peak_flops", lambda kind, dtype: peak)
    clock = iter([0.0, 0.5])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock, 0.5))
    config = smoke_config()
    model = build_model(config)
    meter = Meter(config, model, devices=4)
    meter.count({"tokens": np.zeros((8, 32))})
    values = meter.values()
    a_step = 8 * 32 * flops.flops_per_token(model, 32, predictions_per_sequence(config, 32))
    assert values["tokens_per_second"] == 8 * 32 / 0.5 and values["flops_per_second"] == a_step / 0.5
    assert values.get("mfu") == (None if peak is None else a_step / 0.5 / (4 * 2e9))


def test_what_stands_in_the_line_is_the_mfu_or_the_flops(tmp_path, capfd):
    log = logs.Log(tmp_path, 0, 10)
    timings = {"seconds": 1.0, "tokens_per_second": 2500.0, "flops_per_second": 31.4e9, "data_wait": 0.001}
    log.training(1, {"loss": [2.0]}, timings)
    log.training(2, {"loss": [2.0]}, timings | {"mfu": 0.424})
    log.close()
    first, second = capfd.readouterr().out.splitlines()
    assert first.endswith("(2,500 tokens/s, 31.4 GFLOP/s, data wait 0.1%)")
    assert second.endswith("(2,500 tokens/s, MFU 42.4%, data wait 0.1%)")


# What flops_computation.py prints. ELECTRA's Tables 1 and 2 have 6.4e19, 7.1e20, 3.1e21, 6.4e19 and 1.9e20; for small they
# have 1.4e18, which the code gives for BERT-Small alone.
@pytest.mark.parametrize(
    "paper, variant, steps, printed",
    [
        ("electra", "small", 1_000_000, 1.293743798272e18),
        ("electra", "base", 766_000, 6.424541834277683e19),
        ("electra", "large", 400_000, 7.117606040895488e20),
        ("electra", "large", 1_750_000, 3.113952642891776e21),
        ("bert", "base", 1_000_000, 6.428335104e19),
        ("bert", "large", 1_000_000, 1.91720905883648e20),
    ],
)
def test_electras_count_is_that_of_its_code(paper, variant, steps, printed):
    config = importlib.import_module(f"configs.{paper}").get_config(variant)
    config.steps = steps
    config.phases.update(lengths=(config.phases.lengths[-1],), shares=(1.0,))  # its BERT is at 512 throughout
    assert describe(config)["flops"]["training"]["electra"] == pytest.approx(printed, rel=1e-9)


def test_electras_count_of_inference_gives_its_table_1():
    small, base = (build_model(paper.get_config(name)).config for paper, name in ((electra, "small"), (bert, "base")))
    assert flops.electra_forward(small, 128, "class") == 3_677_281_792  # 3.7e9
    assert f"{flops.electra_forward(base, 128, 'class'):.1e}" == "2.9e+10"
    # BERT-Small's 1.4e18: 1.45 million steps of 128 sequences, forward and backward.
    assert 2 * 128 * 1.45e6 * flops.electra_forward(small, 128, "mlm") == pytest.approx(1.4187399146496e18, rel=1e-9)


@pytest.mark.parametrize(
    "variant, published",
    [("small", 2.25e20), ("medium", 6.41e20), ("large", 1.37e21), ("xl", 2.38e21), ("2.7b", 4.77e21), ("6.7b", 1.20e22),
     ("13b", 2.31e22), ("175b", 3.14e23)],
)  # fmt: skip
def test_6nd_gives_gpt3s_table_d1(variant, published):
    # The table's own rounding: 125M parameters, not 125.2M, and 300 billion tokens.
    assert describe(gpt3.get_config(variant))["flops"]["training"]["6nd"] == pytest.approx(published, rel=6e-3)


def test_a_local_window_is_counted_as_one():
    config = gpt3.get_config("small")
    model = build_model(config)
    config.model.local_window = 0
    dense = build_model(config)
    saved = flops.flops_per_token(dense, 2048, 2047) - flops.flops_per_token(model, 2048, 2047)
    assert saved == 12 * 768 * 6 * (2048 - 256)  # six of twelve layers see 256 positions
