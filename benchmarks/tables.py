"""The tables of docs/ that come from `benchmarks/results/`, as rows of text.

`python -m experiments.tables` writes them into the pages.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import collectives, plan

RESULTS = Path(__file__).parent / "results"
Rows = list[list[str]]


def read(name: str) -> dict[str, Any]:
    """The results of a benchmark.

    Args:
        name: stem of its file.

    Raises:
        FileNotFoundError: there is none.
    """
    return json.loads((RESULTS / f"{name}.json").read_text())


def augment() -> Rows:
    """Speed of AugMax's chains over Pillow's."""
    rows = [
        ["size", "ours / Pillow, samples per second", "in CPU time", "ms a sample, ours and Pillow",
         "peak memory / output (that batch)"],
    ]  # fmt: skip
    for size, found in read("augment")["sizes"].items():
        low, high = found["ratio_lowest"], found["ratio_highest"]
        rows.append(
            [
                f"{size}x{size}",
                f"{found['ratio']:.1f} ({low:.1f} to {high:.1f})",
                f"{found['ratio_of_cpu_time']:.1f}",
                f"{_ms(found['ours_ms_per_sample'])} and {_ms(found['pillow_ms_per_sample'])}",
                f"{found['peak_memory_over_output']:.2f}",
            ]
        )
    return rows


def _ms(value: float) -> str:
    return f"{value:.3g}"


def methods() -> Rows:
    """Step time of every method as a multiple of standard training."""
    multiples = {k: v for k, v in read("methods")["multiples"].items() if k != "normal"}
    return [[f"`{name}`" for name in multiples], [f"{value:.1f}" for value in multiples.values()]]


def corruptions_speed() -> Rows:
    """Corrupted images per second, and those of the peer."""
    found = read("corruptions")["speed"]
    peer = "`imagecorruptions-imaug`, one process"
    return [
        ["", "images/s", "ours is faster by"],
        ["`augmax_jax.corruptions`", f"{found['ours']:,}", ""],
        [peer, f"{found['peer_one_process']:,}", f"{found['ratio_one_process']:.1f}"],
        [
            "the same, one process per core",
            f"{found['peer_all_processes']:,}",
            f"{found['ratio_all_processes']:.1f}",
        ],
    ]


# Corruptions that draw, whose agreement is one of distributions; noises of one kind together.
_RANDOM = {
    "gaussian, shot, speckle noise": ("gaussian_noise", "shot_noise", "speckle_noise"),
    "impulse noise": ("impulse_noise",),
    "glass blur": ("glass_blur",),
    "motion blur": ("motion_blur",),
    "snow": ("snow",),
    "frost": ("frost",),
    "fog": ("fog",),
    "elastic transform": ("elastic_transform",),
    "spatter": ("spatter",),
}


def corruptions_agreement() -> Rows:
    """How far random corruptions are from the second implementation; the worst of a row's."""
    found = read("corruptions")["agreement"]["by_corruption"]
    rows = [["corruption", "mean squared change", "its standard error"]]
    for title, names in _RANDOM.items():
        change = max((found[name]["mean_squared_change"] for name in names), key=abs)
        error = max(found[name]["standard_error"] for name in names)
        rows.append([title, f"{100 * change:+.1f} %", f"{100 * error:.1f} %"])
    return rows


_NETWORKS = {"WRN-40-2": "wrn40_2", "ResNet-18": "resnet18", "ResNeXt-29": "resnext29"}
# The ratios that the project set itself as goals.
_BARS = {
    ("WRN-40-2", "maximise"): 0.90,
    ("WRN-40-2", "update"): 1.10,
    ("WRN-40-2", "sum"): 0.90,
    ("ResNeXt-29", "sum"): 1.20,
}


def phases() -> Rows:
    """Seconds of the phases of an AugMax step, and PyTorch's."""
    rows = [["network, phase", "ours", "PyTorch", "ratio", "bar"]]
    for network, file in _NETWORKS.items():
        found = read(f"step_{file}")["measurements"]
        sums = dict.fromkeys(("jax", "torch"), 0.0)
        for phase in ("augment", "maximise", "update"):
            seconds = {side: found[f"{side}/{phase}"]["seconds"] for side in sums}
            sums = {side: sums[side] + seconds[side] for side in sums}
            if phase != "augment" or network == "WRN-40-2":
                rows.append(_phase(network, phase, seconds))
        rows.append(_phase(network, "sum", sums))
    return rows


def _phase(network: str, phase: str, seconds: dict[str, float]) -> list[str]:
    bar = _BARS.get((network, phase))
    ratio = f"{seconds['jax'] / seconds['torch']:.2f}"
    return [
        f"{network}, {phase}",
        _seconds(seconds["jax"]),
        _seconds(seconds["torch"]),
        f"**{ratio}**" if bar else ratio,
        f"{bar:.2f}" if bar else "",
    ]


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 0.1 else f"{value:.3g}"


_STEPS = {
    "normal": "normal",
    "augmix": "AugMix",
    "augmax, fixed": "AugMax, fixed steps",
    "augmax, sample": "AugMax, early stop, plain loop",
    "augmax, sample, compact": "AugMax, early stop, compacted",
}


def steps() -> Rows:
    """Seconds of whole steps of WRN-40-2 by method, and over PyTorch's."""
    report = read("step_wrn40_2")
    summary, measured = report["summary"], report["measurements"]
    rows = [["step", "s", "times normal", "over PyTorch's fixed AugMax step"]]
    for name, title in _STEPS.items():
        multiple = summary["multiples of normal, seconds"][name]
        key = "whole, fixed steps" if name == "augmax, fixed" else f"whole, {name}"
        ratio = summary["ratio of seconds"].get(key)
        rows.append(
            [
                title,
                f"{measured[f'jax/step: {name}']['seconds']:.2f}",
                f"{multiple:.1f}",
                f"{ratio:.2f}" if ratio else "",
            ]
        )
    return rows


def needs() -> Rows:
    """Memory and the first step of WRN-40-2."""
    memory = [row for row in read("memory_wrn40_2")["steps"] if not row["remat"]]
    first = read("first_step_wrn40_2")
    batches = ", ".join(str(row["batch"]) for row in memory)
    sizes = ", ".join(f"{row['activations_mb']:.0f}" for row in memory)
    state = {f"{row['state_mb']:.0f}" for row in memory}
    return [
        ["", "WRN-40-2 DuBIN", "command"],
        [f"memory of a step at batch {batches}", f"{sizes} MB", "`python -m benchmarks.memory`"],
        ["parameters, statistics and momentum", f"{' to '.join(sorted(state))} MB", "the same"],
        [
            f"first step at batch {first['batch']}, n = 10, counted from the start of Python",
            f"{first['cold']['total']:.0f} s",
            "`python -m benchmarks.first_step`",
        ],
        [
            "the same with the compilation cache filled",
            f"{first['with the cache']['total']:.0f} s",
            "the same",
        ],
    ]


def bound() -> Rows:
    """The least cost of an AugMax step of WRN-40-2 over an AugMix step's."""
    found, measured = read("bound_wrn40_2"), read("step_wrn40_2")["measurements"]
    steps = found["steps"]
    one_pass = measured["jax/maximise"]["seconds"] / (2 * steps)  # all take n steps of two passes
    rows = [["never fooled", "passes for each sample", "least, by operations", "by seconds"]]
    for name, ratio in found["least ratio by the share never fooled"].items():
        share = float(name)
        passes = 3 * (1 - share) + 2 * steps * share
        seconds = 1 + passes * one_pass / measured["jax/step: augmix"]["seconds"]
        rows.append([f"{100 * share:.3g}%", f"{passes:.1f}", f"{ratio:.2f}", f"{seconds:.2f}"])
    return rows


def compaction() -> Rows:
    """Time of the compacted maximisation over the plain loop's."""
    found = read("compaction_wrn40_2")
    chunks = [str(chunk) for chunk in found["settings"]["chunks"]]
    rows = [["never fooled", "evaluations", f"chunk {chunks[0]}", *chunks[1:]]]
    for row in found["rows"]:
        rows.append(
            [
                f"{100 * row['samples that take all steps']:.0f}%",
                f"{row['share of evaluations']:.2f}",
                *(f"{row['over plain, by chunk'][chunk]:.2f}" for chunk in chunks),
            ]
        )
    return rows


_SINGULAR = {"devices": "device", "processes": "process"}


def scaling() -> Rows:
    """What it costs that devices or processes share a step, over the same step without sums."""
    report = read("scaling")
    rows = [
        ["", "batch norm", "all-reduces", "MB summed, at least", "MB a device sends at least",
         "step without, ms", "overhead, ms (quartiles)", "one array, ms"],
    ]  # fmt: skip
    for kind in ("devices", "processes"):
        for count, norms in report[kind].items():
            for norm, found in norms.items():
                least = found["least_bytes"]["sum"]
                low, high = found["overhead_quartiles_ms"]
                rows.append(
                    [
                        f"{count} {kind if int(count) > 1 else _SINGULAR[kind]}",
                        norm,
                        str(found["all_reduces"]),
                        f"{found['bytes'] / 1e6:.3f}, {least / 1e6:.3f}",
                        f"{collectives.ring_bytes(least, int(count)) / 1e6:.1f}",
                        f"{found['ms']['without']:.0f}",
                        f"{found['overhead_ms']:.0f} ({low:.0f} to {high:.0f})",
                        f"{found['ms']['one array of the least bytes']:.0f}",
                    ]
                )
    return rows


def plan_figures() -> Rows:
    """What the compiled step of ImageNet AugMax says of itself."""
    report = read("plan_imagenet_r18")
    passes, steps = report["flops_of_an_image"], report["steps_of_the_ascent"]
    rows = [["figure", "value"]]
    for name, title in {
        "forward": "operations of a forward pass",
        "ascent": "of one ascent step: forward pass and gradient of the image",
        "view": "of one view in training: forward and backward pass",
    }.items():
        rows.append([f"{title}, an image", f"{passes[name] / 1e9:.2f} G"])
    total = plan.flops_per_image(passes, steps)
    rows.append([f"of a step, n = {steps} without early stop: {steps} ascent steps and 3 views",
                 f"{total / 1e9:.1f} G"])  # fmt: skip
    for found in report["compiled"]:
        rows.append(
            [
                f"memory of a device with {found['share']} images: activations and all that a step "
                "needs for a while; state and batch",
                f"{found['activations_mb']:.0f} and {found['state_mb']:.0f} MB",
            ]
        )
    found = report["compiled"][0]
    rows.append(
        [
            "all-reduces of a step, of them in loops; bytes they sum; bytes of the gradient alone",
            f"{found['all_reduces']}, {found['in_loops']}; {found['bytes_summed'] / 1e6:.2f} MB; "
            f"{4 * found['parameters'] / 1e6:.2f} MB",
        ]
    )
    reading = report["input"]
    rows.append(
        [
            f"JPEG files of {reading['kilobytes']:.0f} kB that one core decodes and crops",
            f"{reading['images_per_core']:.0f} images/s",
        ]
    )
    return rows


def plan_times() -> Rows:
    """What ImageNet AugMax would take, by hardware and by the share of the peak that it reaches."""
    report = read("plan_imagenet_r18")
    rows = [
        ["hardware", "share of the peak", "passes, ms", "all-reduce, ms", "input, ms", "bound by",
         "an epoch, minutes", "90 epochs, hours", "cores to keep up"],
    ]  # fmt: skip
    for hardware in plan.HARDWARE:
        for utilisation in plan.UTILISATIONS:
            found = plan.expect(
                hardware,
                flops=plan.flops_per_image(
                    report["flops_of_an_image"], report["steps_of_the_ascent"]
                ),
                bytes_summed=report["compiled"][0]["bytes_summed"],
                images_per_core=report["input"]["images_per_core"],
                utilisation=utilisation,
            )
            rows.append(
                [
                    hardware.name,
                    f"{100 * utilisation:.0f}%",
                    f"{1000 * found.compute:.1f}",
                    f"{1000 * found.all_reduce:.2f}",
                    f"{1000 * found.input:.1f}",
                    found.bound,
                    f"{found.epoch / 60:.1f}",
                    f"{90 * found.epoch / 3600:.1f}",
                    f"{found.cores:.0f}",
                ]
            )
    return rows


_PIPELINES = {
    "torch": "PyTorch's `DataLoader` with Pillow, a process per core",
    "grain": "grain with Pillow, on threads",
    "tf_data": "tf.data, the same work",
    "tf_data_aliased": "tf.data, decodes only the window, resizes without antialiasing",
}


def input_speed() -> Rows:
    """Images per second of the input pipeline, and of its peers'."""
    found = read("input")["speed"]
    rows = [["input pipeline", "images/s", "CPU ms per image", "ours is faster by", "in CPU time"]]
    for name, title in {"ours": "a folder, `random_resized_crop`", **_PIPELINES}.items():
        if name in found:
            row = found[name]
            shown = [title, f"{row['images_per_second']:,}", f"{row['cpu_ms_per_image']:.1f}"]
            if name == "ours":
                rows.append([*shown, "", ""])
                continue
            low, high = row["ratio_lowest"], row["ratio_highest"]
            ratio = f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})"
            rows.append([*shown, ratio, f"{row['ratio_of_cpu_time']:.2f}"])
    return rows


def input_needs() -> Rows:
    """Memory of the input pipeline, and its first batch after a resume."""
    memory, resume = read("input")["memory"], read("input")["resume"]
    first, last = memory["first_batch"], memory["batches"]
    return [
        ["input process", "figure"],
        [
            f"resident memory after {first:,} and {last:,} batches",
            f"{memory['first_mb']:.0f} and {memory['last_mb']:.0f} MB",
        ],
        [
            f"from opening the folder to the first batch, at step 0 and at step {resume['step']:,}",
            f"{resume['seconds_at_step_0']:.2f} and {resume['seconds_at_step']:.2f} s",
        ],
    ]


TABLES: dict[str, Callable[[], Rows]] = {
    "augment": augment,
    "methods": methods,
    "corruptions_speed": corruptions_speed,
    "corruptions_agreement": corruptions_agreement,
    "phases": phases,
    "steps": steps,
    "needs": needs,
    "compaction": compaction,
    "scaling": scaling,
    "plan_figures": plan_figures,
    "plan_times": plan_times,
    "bound": bound,
    "input_speed": input_speed,
    "input_needs": input_needs,
}
