import dataclasses
import errno
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.toys import write_annotated_heads, write_head
from wmh_runtime.errors import InputError, UnexpectedError
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.imageio.reference_masks import LESION
from wmh_runtime.imageio.reference_masks import OTHER_PATHOLOGY as IGNORED
from wmh_runtime.preprocessing.preprocess import Preprocessing, preprocess
from wmh_runtime.preprocessing.slices.planes import PLANES
from wmh_train.data import annotated, cache_entry, file_hashes
from wmh_train.data.annotated import AnnotatedScan
from wmh_train.data.cache import fill_cache, open_cache
from wmh_train.data.cache_entry import CacheCounts, ImageFacts, PlaneSlices, scan_key
from wmh_train.data.layouts import find_dataset

# The pixel size of the heads, 4 mm, so nothing is resampled.
PREPROCESSING = Preprocessing(pixel_size_mm=4, size_px=32, clip_percentiles=(0, 100))


@pytest.fixture
def scans(tmp_path):
    """Three heads of 6 slices. Two slices each have lesions: one, two or three 2 × 2 squares."""
    return find_dataset(write_annotated_heads(tmp_path / "data", 3), ["flair"], ["wmh"]).scans


def write_labels(scan, labels):
    affine = nib.load(scan.channels[0]).affine
    nib.save(nib.Nifti1Image(labels.astype(np.uint8), affine), scan.references[0])


def entries(cache_folder, kind="masks"):
    return sorted(child.name for child in (cache_folder / kind).iterdir())


def test_all_slices_of_all_scans_are_cached_in_order(scans, tmp_path):
    slices = open_cache(scans, PREPROCESSING, tmp_path / "cache")
    assert slices.scans == scans
    assert slices.scan_of.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert np.flatnonzero(slices.with_target).tolist() == [2, 3, 8, 9, 14, 15]
    images, targets = slices.read(range(18))
    assert (images.shape, images.dtype) == ((18, 1, 32, 32), np.float32)
    assert (targets.shape, targets.dtype) == ((18, 1, 32, 32), np.uint8)
    assert targets[slices.with_target].sum(axis=(1, 2, 3)).tolist() == [4, 4, 8, 8, 12, 12]
    assert images[targets == LESION].min() > images[targets == 0].max()


def test_images_equal_those_of_the_runtime_preprocessing(scans, tmp_path):
    slices = open_cache(scans, PREPROCESSING, tmp_path)
    for number, scan in enumerate(scans):
        prepared = preprocess(scan.load()[0], PREPROCESSING).slices
        images, _ = slices.read(np.flatnonzero(slices.scan_of == number))
        np.testing.assert_array_equal(images, prepared.astype(np.float16))


def test_bias_and_percentiles_are_those_of_the_runtime_with_entries_of_their_own(scans, tmp_path):
    changes = {"bias_correction": "n4", "normalization": "percentile", "clip_percentiles": (0, 98)}
    preprocessing = PREPROCESSING.model_copy(update=changes)
    keys = {
        scan_key(scans[0], PREPROCESSING.model_copy(update=dict(list(changes.items())[:count])))
        for count in range(4)
    }
    assert len(keys) == 4
    slices = open_cache(scans[:1], preprocessing, tmp_path)
    prepared = preprocess(scans[0].load()[0], preprocessing).slices
    np.testing.assert_array_equal(slices.read(range(6))[0], prepared.astype(np.float16))
    assert (prepared.min(), prepared.max()) == (0, 1)
    plain = preprocess(
        scans[0].load()[0], preprocessing.model_copy(update={"bias_correction": "none"})
    ).slices
    assert abs(plain - prepared).max() > 0.001  # more than float16 loses


def test_neighbors_of_averaged_thin_slices_equal_those_of_the_runtime(scans, tmp_path):
    # The heads have slices of 5 mm: a slab of 10 mm is two slices, and so is the way to a neighbor.
    preprocessing = PREPROCESSING.model_copy(update={"context_slices": 1, "slab_mm": 10})
    slices = open_cache(scans[:1], preprocessing, tmp_path)
    prepared = preprocess(scans[0].load()[0], preprocessing)
    assert prepared.neighbor_distances == (2,)
    np.testing.assert_array_equal(slices.read(range(6))[0], prepared.slices.astype(np.float16))


def test_slices_of_three_planes_equal_those_of_the_runtime(tmp_path):
    # A block of 20 × 16 × 12 voxels of 2.5 mm, with a lesion of 3 × 2 × 4 voxels.
    heads, masks = tmp_path / "heads", tmp_path / "heads" / "derivatives"
    masks.mkdir(parents=True)
    voxels, lesion = np.zeros((24, 20, 16), np.float32), np.zeros((24, 20, 16), np.uint8)
    x, y, z = np.ogrid[:20, :16, :12]
    voxels[2:22, 2:18, 2:14] = 100 + (3 * x + 5 * y + 7 * z) % 11
    lesion[8:11, 6:8, 5:9] = 1
    affine = np.diag([-2.5, -2.5, 2.5, 1])
    nib.save(nib.Nifti1Image(voxels, affine), heads / "sub-1_FLAIR.nii.gz")
    nib.save(nib.Nifti1Image(lesion, affine), masks / "sub-1_label-WMH_mask.nii.gz")
    scan = find_dataset(heads, ["flair"], ["wmh"]).scans[0]
    changes = {"context_slices": 1, "slab_mm": 5, "planes": PLANES, "pixel_size_mm": 2.5}
    preprocessing = PREPROCESSING.model_copy(update=changes)
    slices = open_cache([scan], preprocessing, tmp_path / "cache")
    prepared = preprocess(scan.load()[0], preprocessing)
    assert prepared.slices_by_plane == [12, 20, 16]
    assert prepared.neighbor_distances == (2, 2, 2)
    images, targets = slices.read(range(48))
    np.testing.assert_array_equal(images, prepared.slices.astype(np.float16))
    # 4 axial slices show 3 × 2 pixels, 3 sagittal ones 2 × 4, and 2 coronal ones 3 × 4.
    shown = targets.sum(axis=(1, 2, 3))
    assert np.unique(shown[:12]).tolist() == [0, 6]
    assert np.unique(shown[12:32]).tolist() == [0, 8]
    assert np.unique(shown[32:]).tolist() == [0, 12]
    assert [(shown[own] > 0).sum() for own in (slice(12), slice(12, 32), slice(32, 48))] == [
        4,
        3,
        2,
    ]
    order = [40, 5, 13, 47, 0, 31]
    np.testing.assert_array_equal(slices.read(order)[0], images[order])


def test_joined_slices_are_those_of_both(scans, tmp_path):
    preprocessing = PREPROCESSING.model_copy(update={"context_slices": 1})
    first, second = (open_cache(part, preprocessing, tmp_path) for part in (scans[:1], scans[1:]))
    facts = ImageFacts(warnings=[], planes=[PlaneSlices(count=6, neighbor_distance=2)])
    other = dataclasses.replace(second.cached[0], facts=facts)
    second = dataclasses.replace(second, cached=(other, second.cached[1]))
    joined = first.joined_with(second)
    assert joined.scan_of.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert np.flatnonzero(joined.with_target).tolist() == [2, 3, 8, 9, 14, 15]
    images, targets = joined.read(range(18))
    for k, expected in enumerate((first.read(range(6)), second.read(range(12)))):
        rows = (slice(0, 6), slice(6, 18))[k]
        np.testing.assert_array_equal(images[rows], expected[0])
        np.testing.assert_array_equal(targets[rows], expected[1])


def test_slices_are_read_in_any_order_with_repeats(scans, tmp_path):
    slices = open_cache(scans, PREPROCESSING, tmp_path)
    indices = [15, 0, 8, 15, 3, 9]
    images, targets = slices.read(indices)
    for index, image, target in zip(indices, images, targets, strict=True):
        single = slices.read([index])
        np.testing.assert_array_equal(image, single[0][0])
        np.testing.assert_array_equal(target, single[1][0])


def test_scans_keep_the_order_of_the_caller(scans, tmp_path):
    slices = open_cache(scans[::-1], PREPROCESSING, tmp_path)
    _, targets = slices.read(np.flatnonzero(slices.with_target))
    assert targets.sum(axis=(1, 2, 3)).tolist() == [12, 12, 8, 8, 4, 4]


def test_pixels_get_labels_by_their_share_of_each_label(scans, tmp_path):
    # Voxels of 4 mm along x: background, label 1 at x = 8, label 2 at x = 9, background. Pixels of
    # 2 mm are on the voxels and midway between them:
    #   x             7    7.5  8    8.5  9    9.5  10
    #   label 1       0    0.5  1    0.5  0    0    0
    #   label 1 or 2  0    0.5  1    1    1    0.5  0
    # So pixels are lesion at 7.5, 8 and 8.5, and ignored at 9 and 9.5. The five rows y = 10 to 12
    # are equal. At y = 9.5 and 12.5 all shares are half of these, so pixels are lesion at 8, and
    # ignored at 8.5 and 9.
    labels = np.zeros((24, 30, 6))
    labels[8, 10:13, 2] = 1
    labels[9, 10:13, 2] = 2
    write_labels(scans[0], labels)
    finer = Preprocessing(pixel_size_mm=2, size_px=65, clip_percentiles=(0, 100))
    slices = open_cache(scans[:1], finer, tmp_path)
    target = slices.read([2])[1][0, 0]
    rows = [row[row > 0].tolist() for row in target if row.any()]
    edge, inside = [LESION, IGNORED, IGNORED], [LESION] * 3 + [IGNORED] * 2
    assert rows == [edge, *[inside] * 5, edge]
    assert slices.with_target.tolist() == [False, False, True, False, False, False]


def test_a_slice_with_only_ignored_pixels_has_no_lesion(scans, tmp_path):
    labels = np.zeros((24, 30, 6))
    labels[8, 10:13, 4] = 2
    write_labels(scans[0], labels)
    slices = open_cache(scans[:1], PREPROCESSING, tmp_path)
    assert not slices.with_target.any()
    assert np.count_nonzero(slices.read([4])[1] == IGNORED) == 3


def test_channels_and_outputs_keep_their_order(tmp_path):
    data = write_annotated_heads(
        tmp_path / "data", 1, channels=("FLAIR", "T1w"), outputs=("WMH", "STROKE")
    )
    (scan,) = find_dataset(data, ["flair", "t1"], ["wmh", "stroke"]).scans
    write_labels(scan, np.zeros((24, 30, 6)))
    slices = open_cache([scan], PREPROCESSING, tmp_path / "cache")
    images, targets = slices.read([2])
    assert images.shape == (1, 2, 32, 32)
    assert targets.sum(axis=(0, 2, 3)).tolist() == [0, 4]
    assert np.flatnonzero(slices.with_target).tolist() == [2, 3]


def test_slices_without_head_are_omitted(tmp_path):
    path = write_head(tmp_path / "a_FLAIR.nii.gz")
    image = nib.load(path)
    voxels = np.asarray(image.dataobj).copy()
    voxels[..., 5] = 0
    nib.save(nib.Nifti1Image(voxels, image.affine), path)
    mask = tmp_path / "mask.nii.gz"
    scan = AnnotatedScan("a", "a", "", (path,), (mask,))
    write_labels(scan, voxels > 200)
    assert len(open_cache([scan], PREPROCESSING, tmp_path / "cache").with_target) == 5


def test_cached_scans_are_not_read_again(scans, tmp_path, monkeypatch):
    calls = []
    fill_cache(scans, PREPROCESSING, tmp_path / "cache", lambda: calls.append(1))
    assert len(calls) == 3
    before = open_cache(scans, PREPROCESSING, tmp_path / "cache").read(range(18))
    monkeypatch.setattr(annotated, "read_scan", lambda *_: pytest.fail("reads a scan again"))
    fill_cache(scans, PREPROCESSING, tmp_path / "cache", lambda: None)
    after = open_cache(scans, PREPROCESSING, tmp_path / "cache").read(range(18))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_mask_or_preprocessing_gives_another_entry(scans, tmp_path):
    folder = tmp_path / "cache"
    fill_cache(scans[:1], PREPROCESSING, folder, lambda: None)
    first = entries(folder)
    labels = np.zeros((24, 30, 6))
    labels[9, 9, 1] = 1
    write_labels(scans[0], labels)
    assert np.flatnonzero(open_cache(scans[:1], PREPROCESSING, folder).with_target).tolist() == [1]
    assert len(entries(folder)) == 2
    larger = PREPROCESSING.model_copy(update={"size_px": 40})
    images, _ = open_cache(scans[:1], larger, folder).read([0])
    assert images.shape == (1, 1, 40, 40)
    assert len(entries(folder)) == 3
    assert set(first) < set(entries(folder))


def test_a_scan_with_several_masks_is_preprocessed_and_stored_once(scans, tmp_path, monkeypatch):
    folder, count = tmp_path / "cache", []
    monkeypatch.setattr(
        cache_entry, "preprocess", lambda *arguments: count.append(1) or preprocess(*arguments)
    )
    one, other = scans[:2]
    twice = dataclasses.replace(one, name="again", references=other.references)
    slices = open_cache([one, twice], PREPROCESSING, folder)
    assert len(count) == 1
    assert (len(entries(folder, "images")), len(entries(folder))) == (1, 2)
    images, targets = slices.read(range(12))
    np.testing.assert_array_equal(images[:6], images[6:])
    # Slices 2 and 3 have one square of 2 × 2 pixels by the one mask, and two by the other.
    assert targets.sum(axis=(1, 2, 3)).tolist() == [0, 0, 4, 4, 0, 0, 0, 0, 8, 8, 0, 0]
    # The same as if each had been preprocessed by itself.
    apart = open_cache([twice], PREPROCESSING, tmp_path / "apart").read(range(6))
    np.testing.assert_array_equal(targets[6:], apart[1])


def test_equal_content_under_another_name_gives_the_same_entry(scans, tmp_path):
    fill_cache(scans, PREPROCESSING, tmp_path / "cache", lambda: None)
    first = scans[0]
    channel, reference = tmp_path / "other.nii.gz", tmp_path / "other_mask.nii.gz"
    shutil.copy(first.channels[0], channel)
    shutil.copy(first.references[0], reference)
    renamed = AnnotatedScan("other", "other", "elsewhere", (channel,), (reference,))
    fill_cache([renamed], PREPROCESSING, tmp_path / "cache", lambda: None)
    assert len(entries(tmp_path / "cache")) == 3
    assert scan_key(renamed, PREPROCESSING) == scan_key(first, PREPROCESSING)


def test_all_unusable_scans_are_reported_together(scans, tmp_path):
    for scan in (scans[0], scans[2]):
        scan.channels[0].write_bytes(b"no scan")
    names = (
        rf"{scans[0].channels[0].name}: .*; 1 more cannot be used: .*{scans[2].channels[0].name}"
    )
    with pytest.raises(InputError, match=names):
        fill_cache(scans, PREPROCESSING, tmp_path / "cache", lambda: None)
    assert len(entries(tmp_path / "cache")) == 1  # the valid scan is already cached


def test_a_bug_met_with_one_scan_is_reported_with_the_scan(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_entry, "preprocess", lambda *_: 1 / 0)
    with pytest.raises(UnexpectedError) as raised:
        fill_cache(scans, PREPROCESSING, tmp_path / "cache", lambda: None)
    assert str(raised.value).startswith(
        f"{scans[0].channels[0]}: unexpected error (ZeroDivisionError: division by zero); 2 more"
    )
    log = (tmp_path / "cache" / "errors.log").read_text(encoding="utf-8")
    assert log.count("Traceback") == 3


def test_a_file_is_hashed_once_and_again_after_a_change(scans, tmp_path, monkeypatch):
    hashed = []
    monkeypatch.setattr(
        file_hashes, "sha256_file", lambda path: hashed.append(path) or sha256_file(path)
    )
    before = scan_key(scans[0], PREPROCESSING)
    fill_cache(scans[:1], PREPROCESSING, tmp_path / "cache", lambda: None)
    open_cache(scans[:1], PREPROCESSING, tmp_path / "cache")
    assert hashed == [scans[0].channels[0], scans[0].references[0]]
    write_labels(scans[0], np.ones((20, 20, 6)))
    assert scan_key(scans[0], PREPROCESSING) != before
    assert len(hashed) == 3


def truncate(entry):
    content = (entry.images / "images.npy").read_bytes()
    (entry.images / "images.npy").write_bytes(content[:-1])


def reshape(entry):
    np.save(entry.targets / "targets.npy", np.zeros((6, 1, 31, 32), np.uint8))


def retype(entry):
    np.save(entry.images / "images.npy", np.zeros((6, 1, 32, 32), np.float32))


def garble(entry):
    (entry.images / "facts.json").write_text("{}")


def garble_targets(entry):
    (entry.targets / "facts.json").write_text('{"with_target": [true]}')


def empty(entry):
    (entry.images / "images.npy").write_bytes(b"")


def lose(entry):
    (entry.targets / "targets.npy").unlink()


@pytest.mark.parametrize("damage", [truncate, reshape, retype, garble, garble_targets, empty, lose])
def test_damaged_entries_are_written_again(scans, tmp_path, damage):
    folder = tmp_path / "cache"
    cached = open_cache(scans, PREPROCESSING, folder)
    before = cached.read(range(18))
    damage(cached.cached[1])
    after = open_cache(scans, PREPROCESSING, folder).read(range(18))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(entries(folder)) == 3


def test_the_error_names_a_missing_cache_file(scans, tmp_path):
    slices = open_cache(scans, PREPROCESSING, tmp_path)
    lose(slices.cached[0])
    with pytest.raises(InputError, match=r"targets\.npy: cannot be read from the cache"):
        slices.read([0])


def test_files_are_mapped_only_while_slices_are_copied(scans, tmp_path):
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("this system does not list mapped files")
    slices = open_cache(scans, PREPROCESSING, tmp_path)
    copied = slices.read(range(18))
    assert str(tmp_path) not in maps.read_text()
    mapped = np.load(slices.cached[0].images / "images.npy", mmap_mode="r")
    assert str(tmp_path) in maps.read_text()  # so the check above is valid
    del mapped, copied


def test_two_processes_fill_one_cache(scans, tmp_path):
    folder = tmp_path / "cache"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        # `int` is a callable without arguments that can be pickled.
        jobs = [pool.submit(fill_cache, scans, PREPROCESSING, folder, int) for _ in range(2)]
        for job in jobs:
            job.result()
    assert len(entries(folder)) == 3
    assert open_cache(scans, PREPROCESSING, folder).with_target.sum() == 6


def test_temporary_files_of_a_killed_process_are_removed(scans, tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setattr("wmh_runtime.files.temporary.shutil.rmtree", lambda *_, **__: None)
    monkeypatch.setattr(
        "wmh_runtime.files.atomic.os.getpid", lambda: 2**30
    )  # no process has this ID
    monkeypatch.setattr(cache_entry.np, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fill_cache(scans, PREPROCESSING, folder, lambda: None)
    assert entries(folder, "images")[0].startswith(".wmh-partial-")
    monkeypatch.undo()
    fill_cache(scans, PREPROCESSING, folder, lambda: None)
    assert len(entries(folder)) == 3
    assert entries(folder, "images") == [
        name for name in entries(folder, "images") if name[0] != "."
    ]


def interrupt(*_):
    raise KeyboardInterrupt


def test_the_error_for_a_full_disk_states_the_needed_space(scans, tmp_path, monkeypatch):
    # 6 slices of 1024² pixels with 2 bytes of image and 1 byte of target are 12.6 and 6.3 MB. One
    # image with 16 masks is 0.113 GB, and 16 images would be 0.302 GB.
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_entry.np, "save", full)
    large = Preprocessing(pixel_size_mm=4, size_px=1024, clip_percentiles=(0, 100))
    with pytest.raises(InputError, match=r"cache: has no space left; .* about 0\.1 GB"):
        fill_cache(scans[:1] * 16, large, tmp_path / "cache", lambda: None)
    monkeypatch.setattr(cache_entry.CacheCounts, "of", lambda _: CacheCounts(16, 16))
    with pytest.raises(InputError, match=r"about 0\.3 GB"):
        fill_cache(scans[:1], large, tmp_path / "cache", lambda: None)
    assert entries(tmp_path / "cache", "images") == entries(tmp_path / "cache") == []


def test_an_entry_that_another_process_wrote_meanwhile_is_kept(scans, tmp_path, monkeypatch):
    folder, written = tmp_path / "cache", []
    load = AnnotatedScan.load

    def slow_load(scan):
        """While this process reads the scan, another one writes its entries."""
        monkeypatch.setattr(AnnotatedScan, "load", load)
        open_cache([scan], PREPROCESSING, folder)
        written.extend(written_at())
        return load(scan)

    def written_at():
        return [path.stat().st_mtime_ns for path in sorted(folder.glob("*/*/*.npy"))]

    monkeypatch.setattr(AnnotatedScan, "load", slow_load)
    open_cache(scans[:1], PREPROCESSING, folder)
    assert written_at() == written
    assert len(written) == 2


def test_a_full_disk_is_detected_without_enospc(scans, tmp_path, monkeypatch):
    def short(*_):
        raise OSError("6144 requested and 0 written")

    monkeypatch.setattr(cache_entry.np, "save", short)
    with pytest.raises(InputError, match=r"cannot be written \(6144 requested"):
        fill_cache(scans, PREPROCESSING, tmp_path / "cache", lambda: None)
    usage = shutil.disk_usage(tmp_path)._replace(free=6 * 32 * 32 * 3 - 1)
    monkeypatch.setattr(cache_entry.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match="has no space left"):
        fill_cache(scans, PREPROCESSING, tmp_path / "cache", lambda: None)


def test_warnings_of_a_scan_are_kept(scans, tmp_path):
    # A field of 16 pixels of 4 mm is smaller than the head, 80 mm × 96 mm.
    small = PREPROCESSING.model_copy(update={"size_px": 16})
    for _ in range(2):
        slices = open_cache(scans[:1], small, tmp_path)
        (warning,) = slices.warnings
        assert warning.startswith("sub-00: ")
        assert "outside the network's 64 mm field" in warning


def test_the_error_names_a_scan_without_head(scans, tmp_path):
    image = nib.load(scans[0].channels[0])
    voxels = np.zeros(image.shape, np.float32)
    voxels[3, 3:13, 3] = range(1, 11)  # one line of 40 mm
    nib.save(nib.Nifti1Image(voxels, image.affine), scans[0].channels[0])
    with pytest.raises(InputError, match=r"sub-00_FLAIR\.nii\.gz: no axial slice"):
        fill_cache(scans, PREPROCESSING, tmp_path / "cache", lambda: None)


def test_the_error_names_a_missing_file(scans, tmp_path):
    scans[0].references[0].unlink()
    with pytest.raises(InputError, match=r"sub-00_label-WMH_mask\.nii\.gz: cannot be read"):
        open_cache(scans, PREPROCESSING, tmp_path / "cache")


class LaterPreprocessing(Preprocessing):
    """The preprocessing of a later version, with a new optional field."""

    novelty: int = 0


def test_a_new_optional_field_of_the_preprocessing_keeps_the_cache(scans):
    settings = {"pixel_size_mm": 4, "size_px": 32, "clip_percentiles": (0, 100)}
    key = scan_key(scans[0], Preprocessing(**settings))
    assert scan_key(scans[0], LaterPreprocessing(**settings)) == key
    assert scan_key(scans[0], LaterPreprocessing(**settings, novelty=1)) != key
    assert scan_key(scans[0], Preprocessing(**settings | {"size_px": 64})) != key
