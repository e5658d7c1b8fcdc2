"""Write a comparison as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wmh_bench.compare import Comparison, FolderSpeed, SliceSpeed

_NOT_MEASURED = ""


def comparison_table(comparison: Comparison) -> str:
    """Return one table per model, and one for whole folders."""
    lines = []
    for model, speeds in comparison.by_model:
        lines += [f"## {model}", "", *_slice_table(speeds), ""]
    if comparison.folder_speeds:
        lines += ["## Files to files", "", *_folder_table(comparison.folder_speeds), ""]
    return "\n".join(lines)


def _slice_table(speeds: Sequence[SliceSpeed]) -> list[str]:
    header = (
        *("device", "backend", "slices/s", "speedup", "of matmul ceiling", "of peak"),
        *("mask Dice with the network", "mean Dice with references", ""),
    )
    rows = [
        (
            speed.device,
            speed.name,
            f"{speed.slices_per_s:.4g}",
            _NOT_MEASURED if speed.speedup is None else f"{speed.speedup:.2f}",
            _percent(speed.share_of_matmul_ceiling),
            _percent(speed.share_of_peak),
            f"{speed.mask_dice:.4f}",
            _NOT_MEASURED if speed.mean_dice is None else f"{speed.mean_dice:.4f}, {speed.data}",
            "refused by wmh-infer" if speed.refused else "",
        )
        for speed in reversed(speeds)
    ]
    return _markdown(header, rows)


def _folder_table(speeds: Sequence[FolderSpeed]) -> list[str]:
    header = (
        *("model", "device", "backend", "views", "scans", "scans/hour", "views/s"),
        *("of the backend alone", "peak memory, MB"),
    )
    rows = [
        (
            speed.model,
            speed.device,
            f"{speed.backend}, {speed.precision}",
            speed.tta,
            str(speed.scans),
            f"{speed.scans_per_hour:.4g}",
            f"{speed.views_per_s:.4g}",
            _percent(speed.share_of_backend_only),
            str(speed.peak_memory_mb),
        )
        for speed in speeds
    ]
    return _markdown(header, rows)


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(header)} |",
        f"|{'---|' * len(header)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _percent(share: float | None) -> str:
    return _NOT_MEASURED if share is None else f"{share:.0%}"
