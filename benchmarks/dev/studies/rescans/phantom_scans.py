"""Scans of a procedural phantom."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.dev.studies.rescans.heads import SCENARIOS, HeadScan, Scenario
from wmh_runtime.phantom.acquisition import Acquisition
from wmh_runtime.phantom.anatomy.lesions import LesionTendency
from wmh_runtime.phantom.head import Subject
from wmh_runtime.phantom.rescan import Rescan, draw_level_mm, draw_subject, rescan
from wmh_runtime.phantom.sites import SITES, Site

_SITES = ("utrecht", "singapore", "amsterdam")
_LOADS_ML = (2.0, 30.0)
_THICK_MM = 5.0
_ADDED, _REMOVED, _GROWN = 6, 4, 4  # lesions of the changed head, at most
_ADDED_MM = (1.8, 4.5)  # how far the propensity of a new lesion is above the level
_GROWN_MM = 1.5
_GONE_MM = -20.0


def phantom_scans(number: int) -> dict[str, HeadScan]:
    """Scan a phantom: first, and in each scenario."""
    seed, scanner = 880_000 + number, SITES[_SITES[number % len(_SITES)]]
    rng = np.random.default_rng(seed)
    subject = draw_subject(seed, scanner)
    load_ml = float(np.exp(rng.uniform(*np.log(_LOADS_ML))))
    level_mm = draw_level_mm(subject, scanner, load_ml, seed=seed)
    acquisition = Acquisition.draw(rng, scanner)
    first = rescan(subject, scanner, acquisition, level_mm, seed=10 * seed)
    scans = {"first": _head_scan(first, first)}
    for index, scenario in enumerate(SCENARIOS, start=1):
        own = _acquisition_of(scenario, acquisition, rng, scanner)
        grid = _thick(scanner) if scenario == "thickness" else scanner
        scan_seed = 10 * seed + index
        scan = rescan(subject, grid, own, level_mm, seed=scan_seed)
        if scenario == "changed":
            changed = replace(subject, tendency=_changed(subject, level_mm, rng))
            scans[scenario] = _head_scan(rescan(changed, grid, own, level_mm, seed=scan_seed), scan)
        else:
            scans[scenario] = _head_scan(scan, scan)
    return scans


def _head_scan(scan: Rescan, before: Rescan) -> HeadScan:
    return HeadScan(scan.image, scan.lesions > 0, before.lesions > 0, scan.affine)


def _acquisition_of(
    scenario: Scenario, first: Acquisition, rng: np.random.Generator, scanner: Site
) -> Acquisition:
    """Return another shading and scale of values; in one scenario another contrast, too."""
    drawn = Acquisition.draw(rng, scanner)
    if scenario == "contrast":
        return drawn
    return replace(drawn, lesion_contrast=first.lesion_contrast, noise=first.noise)


def _thick(scanner: Site) -> Site:
    x_mm, y_mm, z_mm = scanner.spacing_mm
    slices = int(scanner.shape[2] * z_mm / _THICK_MM)
    return replace(scanner, shape=(*scanner.shape[:2], slices), spacing_mm=(x_mm, y_mm, _THICK_MM))


def _changed(subject: Subject, level_mm: float, rng: np.random.Generator) -> LesionTendency:
    """Add deep lesions, remove some, and let some grow."""
    tendency = subject.tendency
    strength = tendency.strength_mm.copy()
    order = rng.permutation(len(strength))
    above = strength[order] - level_mm
    added = order[above < -1.0][:_ADDED]
    lesions = order[(above > 1.0) & (above < 4.0)]
    removed, grown = lesions[:_REMOVED], lesions[_REMOVED : _REMOVED + _GROWN]
    strength[added] = level_mm + rng.uniform(*_ADDED_MM, len(added))
    strength[removed] = _GONE_MM
    strength[grown] += _GROWN_MM
    return replace(tendency, strength_mm=strength.astype(np.float32))
