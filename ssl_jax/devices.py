"""Accelerators: what their makers say of one device. One row each; importing this does not load JAX."""

import importlib.metadata
import os
import re
from typing import NamedTuple

from ssl_jax.errors import check_choice


class Device(NamedTuple):
    """One accelerator, by its data sheet.

    Attributes:
      name: on the command line, 'h100'.
      pattern: regex of JAX's name for it, `jax.Device.device_kind`; a part of a GPU (MIG) is a different device.
      bfloat16, float32: peak matmul TFLOP/s, without sparsity; float32 at JAX's default precision
        (`jax.lax.Precision`), which is TF32 on GPUs that have it and bfloat16 on TPU. None: it has none, or it is not
        known.
      memory: bytes.
      link: bytes per second of the interconnect between devices, of both directions together, as data sheets have it;
        None: none is stated.
      linked: how many devices the interconnect joins: a server of GPUs with NVSwitch, a TPU pod.
    """

    name: str
    pattern: str
    bfloat16: float | None
    float32: float | None
    memory: float
    link: float | None
    linked: int


GB, GIB = 1e9, float(1 << 30)
# Data sheets of A100, H100, H200 and L4 print twice the peak, "with sparsity". Volta and Turing have no bfloat16. A device
# of TPU v2 and v3 is a core, half a chip; of the others it is a chip.
DEVICES = (
    # nvidia.com: nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf
    Device("a100", r"NVIDIA A100[- ](?!.*MIG).*80GB.*", 312, 156, 80 * GB, 600 * GB, 8),
    Device("a100-40gb", r"NVIDIA A100[- ](?!.*MIG).*40GB.*", 312, 156, 40 * GB, 600 * GB, 8),
    # resources.nvidia.com: nvidia-tensor-core-gpu-datasheet (H100 SXM and PCIe); H200 SXM computes as H100 SXM
    Device("h100", r"NVIDIA H100 80GB HBM3", 989.4, 494.7, 80 * GB, 900 * GB, 8),
    Device("h200", r"NVIDIA H200", 989.4, 494.7, 141 * GB, 900 * GB, 8),
    Device("h100-pcie", r"NVIDIA H100 PCIe", 756, 378, 80 * GB, 600 * GB, 2),
    # nvidia.com/en-us/data-center/l4
    Device("l4", r"NVIDIA L4", 121, 60, 24 * GB, 64 * GB, 1),
    # nvidia.com: t4-tensor-core-datasheet-951643.pdf
    Device("t4", r"(Tesla|NVIDIA) T4", None, 8.1, 16 * GB, 32 * GB, 1),
    # images.nvidia.com: volta-v100-datasheet-update-us-1165301-r5.pdf; of 16 or 32 GB
    Device("v100", r"Tesla V100-SXM\d.*", None, 15.7, 16 * GB, 300 * GB, 8),
    Device("v100-pcie", r"Tesla V100-PCIE.*", None, 14, 16 * GB, 32 * GB, 1),
    Device("v100s-pcie", r"Tesla V100S-PCIE.*", None, 16.4, 32 * GB, 32 * GB, 1),
    # v2: arxiv.org/abs/1907.10701, 45 TFLOP/s and 16 GiB a chip; the others: cloud.google.com/tpu/docs/v4, v5e, v5p, v6e
    Device("tpu-v2", r"TPU v2", 22.5, 22.5, 8 * GIB, None, 512),
    Device("tpu-v3", r"TPU v3", 61.5, 61.5, 16 * GIB, None, 2048),
    Device("tpu-v4", r"TPU v4", 275, 275, 32 * GIB, None, 4096),
    Device("tpu-v5e", r"TPU v5( lite|e)", 197, 197, 16 * GB, 400 * GB, 256),
    Device("tpu-v5p", r"TPU v5p?", 459, 459, 95 * GB, 1200 * GB, 8960),
    Device("tpu-v6e", r"TPU v6( lite|e)", 918, 918, 32 * GB, 800 * GB, 256),
)


def by_kind(kind):
    """The `Device` that JAX calls `kind`, or None if it is not known."""
    return next((device for device in DEVICES if re.fullmatch(device.pattern, kind)), None)


def by_name(name):
    """The `Device` of a name on the command line; 'cpu' is this machine, whose memory is known and whose peak is not.

    A CPU has no peak: matmul speed there depends on the machine's other load.

    Raises:
      UserError: an unknown name.
    """
    if name == "cpu":
        return Device("cpu", "cpu", None, None, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), None, 1)
    check_choice(name, [*(device.name for device in DEVICES), "cpu"], "device")
    return next(device for device in DEVICES if device.name == name)


def peak(device, dtype):
    """Peak FLOP/s of a `Device`, or None if it has none.

    Args:
      device: a `Device`, or None.
      dtype: of the computation, 'float32' or 'bfloat16'.
    """
    tera = device and getattr(device, dtype)
    return tera and tera * 1e12


# Compiling, not running, is what the programs of virtual devices are for. XLA aborts on flags that it does not know, and
# later versions may have dropped the last two.
QUICK = ("--xla_backend_optimization_level=0",)
QUICK_IN_0_9 = ("--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1")


def use_virtual(count):
    """Has JAX, which must not be loaded yet, see `count` virtual CPU devices."""
    known = QUICK + QUICK_IN_0_9 * importlib.metadata.version("jaxlib").startswith("0.9.")
    os.environ["XLA_FLAGS"] = " ".join([f"--xla_force_host_platform_device_count={count}", *known])
    os.environ["JAX_PLATFORMS"] = "cpu"
