"""`wmh-bench`: how fast and how accurate a bundle is on the machine at hand.

All but `baseline` do without PyTorch; only that imports what needs it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from wmh_bench.accuracy import (
    HELD_OUT,
    HELD_OUT_SUBJECTS,
    NO_OUTPUT,
    Accuracy,
    Data,
    held_out_phantoms,
    mean_dice,
    measure_accuracy,
    written,
)
from wmh_bench.ceilings.matmul_ceiling import Ceiling
from wmh_bench.compare import compare as compare_results
from wmh_bench.compare import table
from wmh_bench.latency import How, Latency, LatencyRow, Refusal, combinations, measure_latency
from wmh_bench.machine import this_machine
from wmh_bench.pictures.comparison import draw_comparison
from wmh_bench.pictures.timeline import draw_timeline
from wmh_bench.results import read_result, write_result
from wmh_bench.selection import ON_PROCESSORS, ways_of
from wmh_bench.throughput import measure_throughput
from wmh_bench.timing.times import LEAST_S
from wmh_export.model_card import MeasuredAccuracy, model_card
from wmh_runtime.bundle.bundle import CARD_NAME, Bundle, open_bundle
from wmh_runtime.cli import console
from wmh_runtime.cli.options import parse_precision, parse_tta
from wmh_runtime.dataset.discovery import discover
from wmh_runtime.errors import BackendError, InputError
from wmh_runtime.figures.plot_style import DARK, LIGHT, Theme
from wmh_runtime.files.atomic import write_bytes_atomically, write_text_atomically
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.inference.backend_selection import AUTO, BackendOptions, parse_backend
from wmh_runtime.precision import Precision
from wmh_runtime.text import count_noun
from wmh_runtime.tta import ALL_VIEWS, Views, first_views

app = console.command_line("Measure a bundle on this machine: speed, accuracy, memory.")

_Bundle = Annotated[str, typer.Argument(help="Bundle folder, or the name of a shipped one.")]
_Results = Annotated[Path | None, typer.Option(help="Also write the figures to this JSON file.")]
_Backends = Annotated[str, typer.Option("--backend", help="Only these, commas between.")]
_Precisions = Annotated[str, typer.Option("--precision", help="Only these, commas between.")]
_Threads = Annotated[int | None, typer.Option(min=1, help="Of the processor. Default: one a core.")]

_HEADS = (
    *("median ms", "p90 ms", "slices/s", "scans/h", "of prod.", "of peak"),
    *("load s", "first s", "host MB", "GPU MB", "Dice", ""),
)
_ROW = "{:>9} {:>8} {:>9} {:>8} {:>8} {:>8} {:>7} {:>7} {:>8} {:>7} {:>7}  {}"
_SLICES_A_SCAN = 48  # a 2-D FLAIR of 3 mm, as two of the three sites of the WMH challenge have


@app.command()
def latency(
    bundle: _Bundle,
    backend: _Backends = "",
    precision: _Precisions = "",
    views: Annotated[str, typer.Option(help="Of the graphs, commas between.")] = "1,8",
    batch: Annotated[
        str, typer.Option(help="Slices at a time. Default: 1, on GPUs 1,4.", show_default=False)
    ] = "",
    seconds: Annotated[
        float, typer.Option(min=0.01, help="That each is timed at least, and ten times.")
    ] = LEAST_S,
    slices_a_scan: Annotated[int, typer.Option(min=1, help="For scans an hour.")] = _SLICES_A_SCAN,
    threads: _Threads = None,
    device: Annotated[int, typer.Option(min=0, help="Number of the GPU.")] = 0,
    results: _Results = None,
) -> None:
    """Time batches by every backend and precision: latency, throughput, memory, agreement.

    Each combination runs in a process of its own. Latency is that of one batch alone; slices a
    second are counted with as many under way as wmh-infer has. Products are large matrix products
    by the same libraries in the same precision.
    """
    opened = open_bundle(bundle)
    ways = combinations(
        _backends(backend), _precisions(precision), _views(views), _numbers(batch, "--batch")
    )
    if not ways:
        raise InputError("nothing is left to measure", "Leave out --backend or --precision.")
    _check(results)
    how = How(seconds, slices_a_scan, threads, device)
    with console.progress_bar() as bar:
        task = bar.add_task("timing", total=len(ways))

        def show(measured: Latency, found: Ceiling | LatencyRow | Refusal) -> None:
            if results is not None:
                write_result(results, measured)
            if isinstance(found, Refusal):
                _say_skipped([*measured.skipped][-1], found.reason)
                skipped = measured.skipped
                left = [w for w in ways if w.backend not in skipped and str(w) not in skipped]
                bar.update(task, total=len(left))
            elif isinstance(found, Ceiling):
                rate = f"{found.tflop_per_s:.3g} TFLOP/s"
                console.print_line(f"matrix products, {found.backend} {found.precision}: {rate}")
            else:
                if len(measured.rows) == 1:
                    console.print_line(_ROW.format(*_HEADS))
                _say_row(found)
                bar.advance(task)

        measured = measure_latency(opened, ways, how, show)
    if not measured.rows:
        raise BackendError("nothing could be measured", "See the reasons above.")


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _say_skipped(what: str, reason: str) -> None:
    console.print_line(f"skipped {reason if reason.startswith(what) else f'{what}: {reason}'}")


def _say_row(row: LatencyRow) -> None:
    views, slices = count_noun(row.views, "view"), count_noun(row.batch, "slice")
    name = f"{row.backend} {row.precision}, {views}, {slices}"
    shares = [
        "–" if share is None else f"{share:.0%}"
        for share in (row.share_of_products, row.share_of_peak)
    ]
    figures = (
        *(f"{row.times.median_ms:.4g}", _figure(row.times.p90_ms), f"{row.slices_per_s:.4g}"),
        *(f"{row.scans_per_hour:.0f}", *shares, f"{row.load_s:.2f}", f"{row.first_s:.2f}"),
        *(f"{row.host_memory_mb:.0f}", _figure(row.device_memory_mb), f"{row.mask_dice:.4f}"),
    )
    console.print_line(_ROW.format(*figures, name))
    if row.parts is not None:
        parts = row.parts
        console.print_line(
            f"    on the device, ms: in {parts.to_device_ms:.3g}, compute {parts.compute_ms:.4g},"
            f" out {parts.from_device_ms:.3g}; enqueued in {_figure(parts.enqueue_ms)}"
        )
    if row.refused:
        console.print_warning(f"{name}: wmh-infer refuses it, {row.refused}")
    for warning in row.warnings:
        console.print_warning(f"{name}: {warning}")


@app.command()
def throughput(
    bundle: _Bundle,
    scans: Annotated[Path, typer.Argument(help="Folder of FLAIR scans.")],
    out: Annotated[
        Path | None, typer.Option(help="Keep masks here. Default: they are thrown away.")
    ] = None,
    backend: Annotated[str, typer.Option(help="As of wmh-infer.")] = AUTO,
    precision: Annotated[str, typer.Option(help="As of wmh-infer.")] = "fp32",
    tta: Annotated[str, typer.Option(help="As of wmh-infer.")] = "full",
    batch: Annotated[int | None, typer.Option(min=1, help="Slices at a time.")] = None,
    threads: _Threads = None,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help="Draw what each thread did, and when; also X-dark.png."),
    ] = None,
    results: _Results = None,
) -> None:
    """Segment a folder, files to files, beside what the device does alone."""
    if picture is not None and picture.suffix.lower() != ".png":
        raise InputError(f"is {picture}", "Give a name that ends with .png.", about="--picture")
    opened = open_bundle(bundle)
    way = parse_tta(tta)
    wanted = BackendOptions(first_views(way), parse_precision(precision), batch, threads)
    _check(results, picture)
    with tempfile.TemporaryDirectory() as scratch, console.progress_bar() as bar:
        to = out or Path(scratch) / "out"
        task = bar.add_task("segmenting", total=len(discover(scans, to).scans))
        measured = measure_throughput(
            *(opened, scans, to, parse_backend(backend), wanted, way),
            on_scan=lambda: bar.advance(task),
        )
    console.print_line(
        f"{measured.executes} in {measured.precision}, {measured.tta}:"
        f" {count_noun(measured.scans, 'scan')} in {measured.seconds:.1f} s,"
        f" {measured.scans_per_hour:.0f} an hour, {measured.views_per_s:.4g} views/s,"
        f" {measured.share_of_alone:.0%} of the device alone"
    )
    console.print_line(
        f"{measured.slices_executed} of {measured.slices} slices executed,"
        f" {measured.slices_in_all_views} of them in all views; a batch was under way"
        f" {measured.batch_under_way:.0%} of the time; peak memory {measured.peak_memory_mb} MB"
    )
    steps = ", ".join(f"{step} {taken:.2f}" for step, taken in measured.seconds_a_scan.items())
    console.print_line(f"seconds a scan, of the thread that does it: {steps}")
    if results is not None:
        write_result(results, measured)
    if picture is not None:
        _draw(picture, lambda theme: draw_timeline(measured, theme))


@app.command()
def accuracy(
    bundle: _Bundle,
    data: Annotated[
        Path | None,
        typer.Argument(help="Folder of annotated FLAIR scans. Default: twelve phantoms."),
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(help="Reference masks, as wmh-eval takes them. Default: those in DATA."),
    ] = None,
    backend: _Backends = "",
    precision: _Precisions = "",
    tta: Annotated[str, typer.Option(help="As of wmh-infer.")] = "full",
    card: Annotated[
        bool, typer.Option("--card", help="Also write them into the bundle's model card.")
    ] = False,
    results: _Results = None,
) -> None:
    """Measure how good masks are, by every backend and precision, as wmh-eval does.

    Without DATA on twelve phantoms that no training saw, beside the best intensity threshold.
    """
    opened = open_bundle(bundle)
    ways = ways_of(_backends(backend), _precisions(precision))
    if not ways:
        raise InputError("nothing is left to measure", "Leave out --backend or --precision.")
    if card and (data is not None or ("onnxruntime", "fp32") not in ways):
        problem = "is for phantoms, by onnxruntime in fp32"
        raise InputError(problem, "Leave out DATA, --backend and --precision.", about="--card")
    _check(results)

    def show(measured: Accuracy) -> None:
        if results is not None:
            write_result(results, measured)

    with console.progress_bar() as bar:
        task = bar.add_task("segmenting", total=None)

        def advance() -> None:
            bar.advance(task)

        annotated: AbstractContextManager[Data]
        if data is None:
            bar.update(task, total=HELD_OUT_SUBJECTS * (1 + len(ways)))
            annotated = written(held_out_phantoms(), advance)
        else:
            bar.update(task, total=len(discover(data, NO_OUTPUT).scans) * len(ways))
            annotated = nullcontext(Data("annotated scans", data, references or data))
        with annotated as scans:
            measured = measure_accuracy(opened, scans, ways, parse_tta(tta), advance, show)
    _say_accuracy(measured)
    if card:
        _write_card(opened, measured, f"wmh-bench accuracy {bundle}")


def _say_accuracy(measured: Accuracy) -> None:
    if not measured.rows:
        raise BackendError(
            "nothing could be measured: " + "; ".join(measured.skipped.values()),
            "Choose another --backend or --precision.",
        )
    line = "{:<22} {:>7} {:>7} {:>7} {:>8} {:>8} {:>9}"
    console.print_line(
        line.format("", "Dice", "lowest", "H95 mm", "AVD %", "recall", "lesion F1")
        + f"  ({count_noun(measured.scans, 'scan')}: {measured.data})"
    )
    for row in measured.rows:
        means = [row.metrics[name].mean for name in ("h95_mm", "avd_percent")]
        lesions = [row.metrics[name].mean for name in ("lesion_recall", "lesion_f1")]
        dice = [case.dice for case in row.cases if case.dice is not None]
        lowest = min(dice) if dice else None
        figures = [row.metrics["dice"].mean, lowest, *means, *lesions]
        cells = [_figure(figure) for figure in figures]
        console.print_line(line.format(f"{row.backend} {row.precision}", *cells))
    if measured.threshold_dice:
        best = sum(measured.threshold_dice.values()) / len(measured.threshold_dice)
        console.print_line(f"best intensity threshold, chosen against the truth: Dice {best:.4g}")
    for what, reason in measured.skipped.items():
        _say_skipped(what, reason)


@app.command()
def baseline(
    checkpoint: Annotated[Path, typer.Argument(help="Calibrated checkpoint folder.")],
    base: Annotated[Path | None, typer.Option(help="Weights that the encoder stands on.")] = None,
    bundle: Annotated[
        str, typer.Option(help="That was exported from it: the runtime takes its turns too.")
    ] = "",
    device: Annotated[str, typer.Option(help="cpu or cuda. Default: a GPU if there is one.")] = "",
    batch: Annotated[str, typer.Option(help="Slices at a time, commas between.")] = "1",
    turns: Annotated[
        int, typer.Option(min=1, help="That each takes with a view of the reference.")
    ] = 5,
    results: _Results = None,
) -> None:
    """Time slices of eight views by PyTorch, from the reference method's own way on.

    The reference: eager float32, adapters beside the weights, one view after another. Then what
    one would try next: merged, all views at once, scaled_dot_product_attention, torch.compile,
    half precision, CUDA graphs. All on the same weights in the same run, masks compared.
    """
    with console.require_extra("cpu,export"):
        from wmh_bench.baseline.measure import Subject, measure_baseline
        from wmh_bench.baseline.timing import device_named
    opened = open_bundle(bundle) if bundle else None
    chosen = device_named(device)
    at_a_time = _numbers(batch, "--batch")
    if not at_a_time:
        raise InputError("names no number of slices", "Give some, such as 1,4.", about="--batch")
    _check(results)

    def show(measured: Any, line: str) -> None:
        console.print_line(line)
        if results is not None:
            write_result(results, measured)

    subject = Subject(checkpoint, base, opened)
    with console.steps() as on_step:
        measure_baseline(subject, chosen, at_a_time, turns, show, on_step)


@app.command()
def compare(
    results: Annotated[list[Path], typer.Argument(help="JSON files of wmh-bench.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="For the table and the pictures.")],
) -> None:
    """Put results of one or several machines side by side: a table, and a picture."""
    places = [path.resolve().parent.name for path in results]
    found = compare_results([read_result(path) for path in results], places)
    if not (found.entries or found.runs):
        advice = "Give those of latency, throughput or baseline beside those of accuracy."
        raise InputError("say nothing of speed", advice, about="the results")
    make_writable_folder(out)
    text = table(found)
    write_text_atomically(out / "comparison.md", text)
    console.print_line(text)
    if found.entries:
        _draw(out / "comparison.png", lambda theme: draw_comparison(found, theme))
    console.print_line(f"Written to {out}")


def _draw(path: Path, draw: Callable[[Theme], bytes]) -> None:
    """Write a picture for light pages, and beside it one for dark pages."""
    write_bytes_atomically(path, draw(LIGHT))
    write_bytes_atomically(path.with_stem(f"{path.stem}-dark"), draw(DARK))


def _backends(names: str) -> list[str]:
    """Return those that are named; else those of the processor where there is no GPU, or all."""
    named = [parse_backend(name) for name in _listed(names)]
    if named or this_machine().gpus:
        return named
    console.print_line("no GPU here, as far as nvidia-smi knows: the processor's backends alone")
    return list(ON_PROCESSORS)


def _precisions(names: str) -> list[Precision]:
    return [parse_precision(name) for name in _listed(names)]


def _views(names: str) -> list[Views]:
    known: tuple[Views, ...] = get_args(Views)
    assert known == ALL_VIEWS
    found = [count for count in known if str(count) in _listed(names)]
    if not found or len(found) != len(_listed(names)):
        raise InputError(f"is {names}", "Give 1, 8 or 1,8.", about="--views")
    return found


def _numbers(names: str, option: str) -> list[int]:
    listed = _listed(names)
    if all(one.isdecimal() and int(one) for one in listed):
        return sorted({int(one) for one in listed})
    raise InputError(f"is {names}", "Give numbers of slices, such as 1,4.", about=option)


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _check(*paths: Path | None) -> None:
    """Find out before a long measurement whether its results can be written."""
    for path in paths:
        if path is None:
            continue
        if path.is_dir():
            raise InputError("is a folder", "Give a file to write.", about=path)
        make_writable_folder(path.parent)


def _write_card(bundle: Bundle, measured: Accuracy, command: str) -> None:
    row = measured.row("onnxruntime", "fp32")
    threshold = measured.threshold_dice.values()
    text = model_card(
        bundle.manifest,
        MeasuredAccuracy(
            data=f"{HELD_OUT}, 1 to 40 mL, three sites",
            mean_dice=mean_dice(row),
            lowest_dice=min(case.dice for case in row.cases if case.dice is not None),
            threshold_mean_dice=sum(threshold) / len(threshold),
            command=command,
        ),
    )
    write_text_atomically(bundle.folder / CARD_NAME, text)


def main() -> None:
    """Run `wmh-bench`."""
    console.run(app)
