"""Plans a run on devices that need not be there: bytes on each, time, traffic, whether it fits, and a cut that does.

    python scripts/plan.py --config configs/gpt3.py:175b --devices 256 --device h100
    python scripts/plan.py --config configs/gpt3.py:175b --devices 256 --device h100 --exact
    python scripts/plan.py --run runs/base

By formula in a second; with --exact the step itself is compiled for so many virtual devices. --run shows what a run
really took, beside the estimate. Nothing was measured on a GPU or TPU.
"""

import json

from absl import flags

from ssl_jax import command_line, devices
from ssl_jax.errors import UserError

CONFIG = command_line.define_config(required=False)
RUN = command_line.define_path("run", None, "a run's folder: what it took, beside the estimate")
COUNT = flags.DEFINE_integer("devices", 1, "how many devices")
DEVICE = flags.DEFINE_string(
    "device", "h100", "which: a name of ssl_jax/devices.py, h100, tpu-v5p, ...; cpu: this machine"
)
MFU = flags.DEFINE_float("mfu", 0.4, "share of the devices' peak that the run is thought to reach", 0.0, 1.0)
EXACT = flags.DEFINE_bool("exact", False, "compile the step for virtual CPU devices, too")
PROPOSE = flags.DEFINE_bool("propose", False, "propose a cut although the config's own fits")
JSON = flags.DEFINE_bool("json", False, "print one JSON object")


def main():
    if RUN.value is None and CONFIG.value is None:
        raise UserError("--config or --run is missing: what is to be planned, as in --config configs/gpt3.py:175b")
    if not MFU.value > 0:
        raise UserError(f"--mfu={MFU.value:g}: above 0")
    if COUNT.value < 1:
        raise UserError(f"--devices={COUNT.value}: at least 1")
    device = devices.by_name(DEVICE.value)
    if RUN.value is not None:
        devices.use_virtual(1)
        from ssl_jax import footprint

        seen = footprint.seen(RUN.value)
        print(json.dumps(seen, indent=2) if JSON.value else "\n".join(seen_lines(seen)))
        return
    config, lines = command_line.settled(start=False)
    config.parallel.devices = 0  # all of those that are planned for
    devices.use_virtual(COUNT.value if EXACT.value else 1)

    from ssl_jax import footprint, source, tasks  # after the flags: a typing error need not wait for jax

    config = tasks.resolve(source.resolve_teacher(config) if config.teacher.runs else config)
    plan = footprint.plan(config, COUNT.value, device, MFU.value, PROPOSE.value)
    if EXACT.value:
        plan["program"] = exact(config, plan)
    if JSON.value:
        print(json.dumps(plan, indent=2))
        return
    print(*lines, *lines_of(plan), sep="\n")


def exact(config, plan):
    """The compiled program of the cut that would run: the config's own, or the proposed one where that is refused."""
    from ssl_jax import footprint, program

    flagged = plan["proposal"]["flags"] if plan["refused"] and plan["proposal"] else {}
    if plan["refused"] and not flagged:
        raise UserError(f"--exact: {plan['refused']}")
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(flagged)
    made = program.compile_step(config, footprint.largest(config))
    found = [{"name": name, "devices": n, **own._asdict()} for (name, n), own in made.collectives.items()]
    estimated = (plan["proposal"] if flagged else plan)["bytes"]["total"]
    return {
        **made._asdict(),
        "collectives": found,
        "total": made.total,
        "gap": estimated / made.total - 1,
        "flags": flagged,
    }


def lines_of(plan):
    """Yields the lines of a plan."""
    count = plan["devices"]
    yield f"{plan['variant']} on {count:,} x {plan['device']}, {plan['dtype']}"
    yield f"  parameters       {plan['parameters']:,}"
    yield (
        f"  a step           {plan['batch_size']:,} x {plan['length']:,} tokens, the run's largest; "
        f"{plan['flops_per_token']:.4g} FLOPs a token"
    )
    yield f"  the run          {plan['tokens']:.4g} tokens, {plan['flops']:.4g} FLOPs"
    if plan["seconds"] is None:
        yield f"  time             not known: {plan['device']} has no peak in {plan['dtype']}"
    else:
        yield (
            f"  time             {duration(plan['seconds'])}, {plan['device_hours']:,.0f} device-hours at {plan['mfu']:.0%} "
            "of the peak, which is assumed, not measured"
        )
    yield from of_cut("as the config is", plan, plan)
    if plan["untaught"]:
        yield f"  not counted      the teacher of losses.{plan['untaught']}: teacher.runs names none"
    if plan["refused"]:
        yield f"  refused          {plan['refused']}"
    proposal = plan["proposal"]
    if proposal is not None:
        yield from of_cut("proposed", proposal, plan)
        yield from (f"  note             {note}" for note in proposal["notes"])
        flagged = " ".join(f"--config.{key}={value}" for key, value in proposal["flags"].items())
        yield f"  flags            {flagged or 'none: the config is the cheapest that fits'}"
    elif not plan["divides"]:
        yield f"batch_size={plan['batch_size']:,} and the model's heads cannot be cut over {count:,} devices: take another number"
    elif not plan["fits"]:
        yield f"no cut over {count:,} devices fits: take more of them, with more memory, or model.dtype=bfloat16"
    if "program" in plan:
        yield from of_program(plan["program"], plan["dtype"] == "bfloat16")


def of_cut(title, own, plan):
    """Yields the lines of one cut of a plan."""
    cut, parts = own["cut"], own["bytes"]
    mesh = (cut["devices"] // cut["fsdp"] // cut["tensor"], cut["fsdp"], cut["tensor"])
    shape = "" if cut["mode"] == "pmap" else f" {' x '.join(map(str, mesh))} (data, fsdp, tensor)"
    pieces = f"{cut['accumulate']} micro-batch{'es' * (cut['accumulate'] > 1)}"
    yield f"{title}: {cut['mode']}{shape}, {pieces}, {'with' if cut['remat'] else 'without'} remat"
    for name, size in parts.items():
        if size and name != "total":
            yield f"  {name:<16} {spelt(size)}"
    share = parts["total"] / plan["memory"]
    fits = "fits" if share <= plan["share"] else "does not fit"
    of = f"of {plan['memory'] / 1e9:.0f} GB a device, {share:.0%}: {fits} (at most {plan['share']:.0%})"
    yield f"  {'in all':<16} {spelt(parts['total'])} {of}"
    for one in own["traffic"]:
        time = (
            f", {one['seconds']:.3g} s at the data sheet's speed"
            if one["seconds"]
            else f", within {one['span']:,} devices"
        )
        yield f"  {one['axis']:<16} {one['count']:,} {one['name']}: {spelt(one['sent']).strip()} sent by a device{time}"


def of_program(program, bfloat16):
    """Yields the lines of a compiled step."""
    flagged = " ".join(f"--config.{key}={value}" for key, value in program["flags"].items())
    yield f"compiled for CPU devices{f', with {flagged}' if flagged else ''}"
    for name in ("argument", "temp"):
        yield f"  {name:<16} {spelt(program[name])}"
    gap = f"the estimate is {abs(program['gap']):.0%} {'more' if program['gap'] > 0 else 'less'}"
    yield f"  {'in all':<16} {spelt(program['total'])} a device; {gap}"
    for one in program["collectives"]:
        yield (
            f"  {one['name']:<16} {one['count']:,} among {one['devices']:,}: {spelt(one['sent']).strip()} sent by a device"
        )
    if not program["known"]:
        yield "  of a loop that does not say how often it runs, collectives are counted once"
    if bfloat16:
        yield "  XLA's CPU compiler keeps float32 copies of bfloat16 arrays, and sends float32: both are upper bounds"
    if program["scanned"]:
        yield "  compiled with model.scan=True: XLA's CPU compiler undoes remat of unrolled layers"


def seen_lines(seen):
    """Yields the lines on what a run took."""
    predicted, measured = seen["predicted"]["total"], seen["measured"]
    cut = seen["cut"]
    yield f"{seen['variant']} on {cut['devices']:,} x {seen['device']}, {seen['batch_size']:,} x {seen['length']:,} tokens a step"
    yield f"  predicted        {spelt(predicted)} a device"
    if measured["of"] == "device":
        yield f"  measured         {spelt(measured['bytes'])}, the most that a device had in use"
        yield f"  error            {predicted / measured['bytes'] - 1:+.1%}"
    else:
        rest = measured["bytes"] - predicted * cut["devices"]
        yield f"  measured         {spelt(measured['bytes'])}, the peak resident size of the process: a CPU tells no more"
        yield f"  of that          {spelt(rest)} is not predicted: JAX, programs, batches, and the error"
    if seen["flops_per_second"]:
        mfu = f", {seen['mfu']:.1%} of the peak" if seen["mfu"] else ""
        yield f"  reached          {seen['flops_per_second']:.4g} FLOP/s, the median of its timings{mfu}"


def spelt(size):
    """Bytes as '  12.345 GB', or MB below a tenth of that."""
    return f"{size / 1e9:>10,.3f} GB" if abs(size) >= 1e8 else f"{size / 1e6:>10,.3f} MB"


def duration(seconds):
    from ssl_jax.sweeps import planning  # loads JAX

    return planning.duration(seconds)


if __name__ == "__main__":
    command_line.run(main)
