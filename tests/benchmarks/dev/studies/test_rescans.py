"""The study of rescans: what it scans, and how it counts."""

import pytest

from benchmarks.dev.clusters.coarse_phantoms import coarse_phantoms
from benchmarks.dev.studies.rescans.heads import SCENARIOS
from benchmarks.dev.studies.rescans.measure import FoundLesion, PairRecord, TrueLesion
from benchmarks.dev.studies.rescans.phantom_scans import phantom_scans
from benchmarks.dev.studies.rescans.summary import summarize


def pair(scenario, found, true=(), volumes_ml=(1.0, 1.2)):
    return PairRecord(
        head="a",
        scenario=scenario,
        volumes_ml=volumes_ml,
        true_ml=(1, 1),
        moved_mm=1,
        moved_degrees=1,
        disagreement_mm=0.5,
        similarity=0.4,
        warnings=[],
        is_one_protocol=True,
        found=[
            FoundLesion(before_mm3=a, after_mm3=b, before_mm2=c, after_mm2=d, shared_level=0)
            for a, b, c, d in found
        ],
        true=[TrueLesion(before_mm3=a, after_mm3=b, found=c) for a, b, c in true],
    )


def test_differences_and_false_changes_of_rescans_are_counted():
    lesions = [(100, 110, 150, 200), (0, 5000, 0, 2000), (200, 200, 300, 300)]
    records = [pair(name, lesions) for name in SCENARIOS]
    summary = summarize({"phantom": records})
    (same, *_) = summary.rescans
    assert len(summary.rescans) == len(SCENARIOS) - 1
    assert (same.pairs, same.lesions, same.unmatched_per_pair) == (1, 2, 1)
    assert same.boundary_mm["50"] == pytest.approx(0.025)  # of 10 / 200 and 0
    assert same.false_classes_per_pair == {"new": 1, "enlarging": 0, "resolved": 0, "shrinking": 0}
    assert same.sd_ml == pytest.approx(0.2)
    assert same.sd_percent == pytest.approx(100 * 0.2 / 1.1, abs=0.05)
    assert same.total_boundary_mm == pytest.approx(200 / 2500)


@pytest.mark.parametrize(("is_one_protocol", "new"), [(True, 1), (False, 0)])
def test_the_uncertainty_is_that_of_the_protocols(is_one_protocol, new):
    # 45 mm³ with a surface of 100 mm²: above 40 + 3 mm³, below 50 + 3 mm³.
    records = [
        pair(name, [(0, 45, 0, 100)]).model_copy(update={"is_one_protocol": is_one_protocol})
        for name in SCENARIOS
    ]
    (same, *_) = summarize({"phantom": records}).rescans
    assert same.false_classes_per_pair["new"] == new


def test_true_changes_are_found_by_what_overlaps_with_them():
    found = [(0, 5000, 0, 2000), (100, 101, 150, 150), (5000, 0, 2000, 0)]
    true = [(0, 60, [0]), (0, 70, [1]), (0, 80, []), (5000, 0, [2]), (100, 100, [1])]
    records = [pair(name, found, true if name == "changed" else ()) for name in SCENARIOS]
    summary = summarize({"synthetic": records})
    by_group = {(one.change, one.at_least_mm3): one for one in summary.sensitivity}
    added = by_group["added", 30]
    assert (added.lesions, added.seen, added.same_class, added.same_direction) == (3, 2, 1, 1)
    removed = by_group["removed", 100]
    assert (removed.lesions, removed.same_class, removed.below_mm3) == (1, 1, None)
    assert sum(one.lesions for one in summary.sensitivity) == 4


def test_a_phantom_is_scanned_in_each_scenario():
    with coarse_phantoms(), pytest.MonkeyPatch.context() as patch:
        from benchmarks.dev.studies.rescans import phantom_scans as module
        from wmh_runtime.phantom import head

        patch.setattr(module, "SITES", head.SITES)
        scans = phantom_scans(0)
    assert set(scans) == {"first", *SCENARIOS}
    for name, scan in scans.items():
        is_changed = (scan.before != scan.lesions).any()
        assert is_changed == (name == "changed")
    assert scans["thickness"].image.shape[2] != scans["first"].image.shape[2]
