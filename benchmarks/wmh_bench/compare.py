"""Results of several machines side by side: speed, its share of what is possible, and its price."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from wmh_bench.accuracy import Accuracy, mean_dice
from wmh_bench.baseline.result import Baseline
from wmh_bench.environment import Circumstances, Model
from wmh_bench.latency import Latency
from wmh_bench.machine import Machine
from wmh_bench.throughput import Throughput
from wmh_runtime.precision import Precision
from wmh_runtime.text import count_noun
from wmh_runtime.tta import VIEWS

Measurement = Latency | Throughput | Accuracy | Baseline
_CPU = "cpu"
_NO_FIGURE = ""  # of a table's cell: not measured
# What makers write around the model of a device.
_SUPERFLUOUS = re.compile(r"\(R\)|\(TM\)|NVIDIA |GeForce |\d+-Core Processor|CPU @.*|Processor")


@dataclass(frozen=True)
class Entry:
    """One way to execute slices of eight views on one device."""

    model: str
    device: str
    way: str
    precision: Precision
    slices_per_s: float
    times_faster: float | None  # than the reference method's way
    share_of_products: float | None
    share_of_peak: float | None
    mask_dice: float  # with the trained network
    mean_dice: float | None  # with references
    data: str  # that it was measured on
    refused: bool  # wmh-infer would not execute so

    @property
    def name(self) -> str:
        """What executes, in words."""
        return f"{self.way}, {self.precision}"


@dataclass(frozen=True)
class Run:
    """A folder of scans, files to files."""

    model: str
    device: str
    way: str
    precision: Precision
    tta: str
    scans: int
    scans_per_hour: float
    views_per_s: float
    share_of_alone: float
    peak_memory_mb: int


@dataclass(frozen=True)
class Comparison:
    """All of them."""

    entries: tuple[Entry, ...]  # by model; the slowest first
    runs: tuple[Run, ...]

    @property
    def models(self) -> list[tuple[str, list[Entry]]]:
        """The entries of each model."""
        return [(model, list(some)) for model, some in groupby(self.entries, lambda e: e.model)]


def compare(results: Iterable[Measurement], places: Sequence[str] = ()) -> Comparison:
    """Put results side by side; of what was measured twice on one device the later counts.

    Args:
        results: of any kinds.
        places: a name for each result's machine, such as its folder. Devices of one name in
            several places are told apart by it; without any they are one.
    """
    results = _told_apart(list(results), places)
    # Of several data sets the largest counts.
    accuracies = sorted(
        (one for one in results if isinstance(one, Accuracy)), key=lambda one: -one.scans
    )
    entries: dict[tuple[str, str, str], Entry] = {}
    runs = []
    for result in sorted(results, key=lambda result: result.circumstances.made):
        if isinstance(result, Latency):
            found = _entries_of_latency(result, accuracies)
        elif isinstance(result, Baseline):
            found = _entries_of_baseline(result)
        else:
            found = []
        for entry in found:
            place = (entry.model, entry.device, entry.name)
            entries[place] = _joined(entries.get(place), entry)
        if isinstance(result, Throughput):
            runs.append(_run(result))
    order = sorted(entries.values(), key=lambda entry: (entry.model, entry.slices_per_s))
    return Comparison(tuple(order), tuple(runs))


def _told_apart(results: list[Measurement], places: Sequence[str]) -> list[Measurement]:
    """Put the place into the name of a processor that is in several; GPUs of a name are alike."""
    of_processor: dict[str, set[str]] = {}
    for result, place in zip(results, places, strict=False):
        of_processor.setdefault(result.circumstances.machine.processor, set()).add(place)
    named: list[Measurement] = []
    for i, result in enumerate(results):
        circumstances, machine = result.circumstances, result.circumstances.machine
        if len(of_processor.get(machine.processor, ())) > 1:
            processor = f"{machine.processor} in {places[i]}"
            changed = machine.model_copy(update={"processor": processor})
            circumstances = circumstances.model_copy(update={"machine": changed})
            update: dict[str, object] = {"circumstances": circumstances}
            if isinstance(result, Baseline) and result.device == machine.processor:
                update["device"] = processor
            named.append(result.model_copy(update=update))
        else:
            named.append(result)
    return named


def _joined(earlier: Entry | None, later: Entry) -> Entry:
    """Let the later count, but for what only a baseline knows, or only a latency."""
    if earlier is None:
        return later
    if later.times_faster is None:
        return replace(later, times_faster=earlier.times_faster)
    if earlier.times_faster is None:
        return replace(earlier, times_faster=later.times_faster)
    return later


def _entries_of_latency(result: Latency, accuracies: Sequence[Accuracy]) -> list[Entry]:
    """Return what was executed in eight views, each with the batch that is the fastest."""
    model, machine = result.circumstances.model, result.circumstances.machine
    fastest = {}
    for row in sorted(result.rows, key=lambda row: row.slices_per_s):
        if row.views == len(VIEWS):
            fastest[row.backend, row.precision] = row
    entries = []
    for row in fastest.values():
        dice, data = _mean_dice(model, row.backend, row.precision, accuracies)
        entries.append(
            Entry(
                model=_model(model),
                device=_device(row.device, machine),
                way=row.backend,
                precision=row.precision,
                slices_per_s=row.slices_per_s,
                times_faster=None,
                share_of_products=row.share_of_products,
                share_of_peak=row.share_of_peak,
                mask_dice=row.mask_dice,
                mean_dice=dice,
                data=data,
                refused=bool(row.refused),
            )
        )
    return entries


def _entries_of_baseline(result: Baseline) -> list[Entry]:
    """Return the ways that took turns, each with the batch that is the fastest."""
    circumstances = result.circumstances
    fastest = {}
    for row in sorted(result.rows, key=lambda row: row.views_per_s):
        fastest[row.name, row.precision] = row
    return [
        Entry(
            model=_model(circumstances.model),
            device=_device(result.device, circumstances.machine),
            way=row.name,
            precision=row.precision,
            slices_per_s=row.views_per_s / len(VIEWS),
            times_faster=row.times_faster,
            share_of_products=row.share_of_products,
            share_of_peak=row.share_of_peak,
            mask_dice=row.mask_dice,
            mean_dice=None,
            data="",
            refused=False,
        )
        for row in fastest.values()
    ]


def _run(result: Throughput) -> Run:
    circumstances: Circumstances = result.circumstances
    return Run(
        model=_model(circumstances.model),
        device=_device(result.device, circumstances.machine),
        way=result.executes.partition(" on ")[0],
        precision=result.precision,
        tta=result.tta,
        scans=result.scans,
        scans_per_hour=result.scans_per_hour,
        views_per_s=result.views_per_s,
        share_of_alone=result.share_of_alone,
        peak_memory_mb=result.peak_memory_mb,
    )


def _mean_dice(
    model: Model, backend: str, precision: Precision, accuracies: Iterable[Accuracy]
) -> tuple[float | None, str]:
    for accuracy in accuracies:
        if accuracy.circumstances.model.model_id == model.model_id:
            for row in accuracy.rows:
                if (row.backend, row.precision, row.tta) == (backend, precision, "full"):
                    return mean_dice(row), accuracy.data
    return None, ""


def _model(model: Model) -> str:
    identity = f" {model.model_id[:8]}" if model.model_id else ""
    return f"{model.name}{identity}, {model.size_px} pixels, {model.gflop_a_view:.3g} GFLOP a view"


def _device(device: str, machine: Machine) -> str:
    is_processor = device in (_CPU, machine.processor)
    name = " ".join(_SUPERFLUOUS.sub("", machine.processor if is_processor else device).split())
    return f"{name}, {count_noun(machine.cores, 'core')}" if is_processor else name


def table(comparison: Comparison) -> str:
    """Write a comparison in Markdown."""
    parts = []
    for model, entries in comparison.models:
        parts += [f"## {model}", "", *_rows_of_entries(entries), ""]
    if comparison.runs:
        parts += ["## Files to files", "", *_rows_of_runs(comparison.runs), ""]
    return "\n".join(parts)


def _rows_of_entries(entries: Sequence[Entry]) -> list[str]:
    heads = (
        *("device", "what executes", "slices/s", "times the reference", "of products"),
        *("of peak on paper", "mask Dice with the network", "mean Dice with references", ""),
    )
    rows = [
        (
            entry.device,
            entry.name,
            f"{entry.slices_per_s:.4g}",
            _NO_FIGURE if entry.times_faster is None else f"{entry.times_faster:.2f}",
            _percent(entry.share_of_products),
            _percent(entry.share_of_peak),
            f"{entry.mask_dice:.4f}",
            _NO_FIGURE if entry.mean_dice is None else f"{entry.mean_dice:.4f}, {entry.data}",
            "refused by wmh-infer" if entry.refused else "",
        )
        for entry in reversed(entries)
    ]
    return _markdown(heads, rows)


def _rows_of_runs(runs: Sequence[Run]) -> list[str]:
    heads = (
        *("model", "device", "what executes", "views", "scans", "scans/hour", "views/s"),
        *("of the device alone", "peak memory, MB"),
    )
    rows = [
        (
            run.model,
            run.device,
            f"{run.way}, {run.precision}",
            run.tta,
            str(run.scans),
            f"{run.scans_per_hour:.4g}",
            f"{run.views_per_s:.4g}",
            _percent(run.share_of_alone),
            str(run.peak_memory_mb),
        )
        for run in runs
    ]
    return _markdown(heads, rows)


def _markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _percent(share: float | None) -> str:
    return _NO_FIGURE if share is None else f"{share:.0%}"
