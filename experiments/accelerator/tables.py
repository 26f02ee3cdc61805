"""The figures of an accelerator as Markdown, from its JSON file."""

from collections.abc import Mapping
from typing import Any

from augmax_jax.report.tables import percent
from experiments.cpu_study.tables import ABSENT, markdown


def table(results: Mapping[str, Any]) -> str:
    """All tables.

    Args:
        results: what `accelerator.json` holds.
    """
    facts, items = results["facts"], results["items"]
    head = (
        f"{facts['devices']} x {facts['device']}, {facts['cores']} CPU cores, JAX {facts['jax']}.\n"
    )
    parts = [head, steps(items), peers(items), pixels(items), runs(results), *failures(results)]
    return "\n".join(part for part in parts if part)


def steps(items: Mapping[str, Mapping[str, Any]]) -> str:
    """Our steps: a row for each network, dtype and kind."""
    titles = ("network", "dtype", "step", "first step, s", "ms", "images/s", "× normal")
    rows = [[*titles, "share of peak", "memory, MiB", "ascent steps"]]
    for name, row in _of(items, "steps", "chunks"):
        network, dtype, kind = name.split("/")
        normal = items.get(f"steps/{network}/{dtype}/normal", {}).get("seconds")
        memory = row["memory_mib"]["temporary"]
        rows.append(
            [
                network,
                dtype,
                kind,
                f"{row['first_step_seconds']:.1f}",
                f"{1000 * row['seconds']:.2f}",
                f"{row['images_per_second']:,.0f}",
                f"{row['seconds'] / normal:.2f}" if normal else ABSENT,
                _share(items, network, dtype, row),
                ABSENT if memory is None else f"{memory:,.0f}",
                f"{row['ascent_steps']:.2f}" if "ascent_steps" in row else ABSENT,
            ]
        )
    return markdown(rows) if len(rows) > 1 else ""


def _share(
    items: Mapping[str, Mapping[str, Any]], network: str, dtype: str, row: Mapping[str, Any]
) -> str:
    """The rate of a step's operations over that of a large matrix product, in percent."""
    flops = items.get(f"device/flops/{network}", {}).get("forward")
    peak = items.get(f"device/peak/{dtype}", {}).get("flops_per_second")
    if not flops or not peak:
        return ABSENT
    return f"{100 * flops * row['forward_passes'] / row['seconds'] / peak:.1f} %"


def peers(items: Mapping[str, Mapping[str, Any]]) -> str:
    """PyTorch's phases, and our steps over theirs."""
    rows = [
        ["network", "dtype", "PyTorch", "normal, ms", "AugMax n = 5, ms", "ours: normal", "n = 5"]
    ]
    for name, row in _of(items, "peer", "peer compiled"):
        network, dtype, how = name.split("/")
        seconds = row["seconds"]
        theirs = {"normal": seconds["normal"], "augmax": seconds["maximise 5"] + seconds["update"]}
        ours = {
            "normal": items.get(f"steps/{network}/{dtype}/normal", {}).get("seconds"),
            "augmax": items.get(f"steps/{network}/{dtype}/augmax n=5 compacted", {}).get("seconds"),
        }
        rows.append(
            [
                network,
                dtype,
                how,
                *(f"{1000 * value:.2f}" for value in theirs.values()),
                *(f"{ours[k] / theirs[k]:.2f} ×" if ours[k] else ABSENT for k in theirs),
            ]
        )
    if len(rows) == 1:
        return ""
    note = "PyTorch's AugMax is n fixed steps and the update, without its augmentation."
    return markdown(rows) + f"\n{note}\n"


def pixels(items: Mapping[str, Mapping[str, Any]]) -> str:
    """Operators and corruptions."""
    rows = [["what", "ours", "on all cores", "ratio"]]
    for name, row in _of(items, "pixels"):
        if name.startswith("operators"):
            ours, theirs = row["ours_ms_per_sample"], row["pillow_ms_per_sample"]
            rows.append(
                [
                    f"six chains, {name.split('/')[1]} px, samples/s",
                    f"{1000 / ours:,.0f}",
                    f"{1000 / theirs:,.0f}",
                    f"{row['ratio']:.1f}",
                ]
            )
        elif name == "corruptions/ours":
            theirs = items.get("pixels/corruptions/cores", {}).get("images_per_second")
            mine = row["images_per_second"]
            rows.append(
                [
                    "corruptions, images/s",
                    f"{mine:,.0f}",
                    f"{theirs:,.0f}" if theirs else ABSENT,
                    f"{mine / theirs:.1f}" if theirs else ABSENT,
                ]
            )
    return markdown(rows) if len(rows) > 1 else ""


def runs(results: Mapping[str, Any]) -> str:
    """The run list."""
    found = results.get("runs") or {}
    rows = [["run", "state", "epoch", "SA %", "RA %"]]
    for name, run in found.items():
        epochs = f"{run['epoch']:.1f} of {run['epochs']:g}"
        rows.append([name, run["state"], epochs, percent(run["SA"]), percent(run["RA"])])
    return markdown(rows) if found else ""


def failures(results: Mapping[str, Any]) -> list[str]:
    """A line for each item and each run that failed, or lacks something."""
    items = results["items"]
    lines = [f"- {name}: {row['error']}" for name, row in items.items() if "error" in row]
    found = results.get("runs") or {}
    lines += [f"- {n}: {run['state']}: {run['note']}" for n, run in found.items() if "note" in run]
    return ["\n".join(lines) + "\n"] if lines else []


def _of(items: Mapping[str, Mapping[str, Any]], *parts: str) -> list[tuple[str, Mapping[str, Any]]]:
    """The items of some parts that were measured, by name without the part."""
    return [
        (name.partition("/")[2], row)
        for part in parts
        for name, row in items.items()
        if name.startswith(f"{part}/") and "error" not in row
    ]
