"""`wmh-node` with programs of others: Orthanc as the PACS, dcmtk as the scanner."""

import io
import shutil
import subprocess

import nibabel as nib
import numpy as np
import pydicom
import pytest

from tests.runtime.dicom.head_series import head_images
from tests.runtime.dicom.series_toys import person
from tests.runtime.node.node_process import CALLER, Node, free_port, wait_for
from tests.runtime.node.orthanc import Orthanc, needs_orthanc
from tests.runtime.node.studies import results_of
from wmh_runtime import InferenceOptions, load_bundle, segment_folder
from wmh_runtime.phantom.dicom_series import write_series

needs_dcmtk = pytest.mark.skipif(
    not shutil.which("storescu"), reason="storescu (dcmtk) is not installed"
)


def segmented_slices(folder, out, bundle):
    """The slices with lesions that `wmh-infer` finds, from the top of each image."""
    options = InferenceOptions(backend="onnxruntime", tta="none")
    segment_folder(folder, out, load_bundle(bundle), options)
    (mask,) = out.glob("*_mask.nii.gz")
    slices = np.asarray(nib.load(mask).dataobj)[:, ::-1].transpose(2, 1, 0)
    return slices[slices.any(axis=(1, 2))]


@needs_orthanc
def test_a_study_of_the_pacs_gets_its_results_beside_its_images(tmp_path, toy_bundle):
    images = head_images(tmp_path / "nifti", who=person("MRN-1"), lesions=2)
    write_series(images, tmp_path / "dicom")
    pacs_port = free_port()
    node = Node(tmp_path / "node", toy_bundle, {"pacs": pacs_port})
    orthanc = Orthanc(tmp_path / "orthanc", node.port)
    node.config.write_text(node.config.read_text().replace(str(pacs_port), str(orthanc.port)))
    with orthanc.running(), node:
        orthanc.store(sorted((tmp_path / "dicom").iterdir()))
        study = orthanc.study_of(images[0].StudyInstanceUID)
        orthanc.forward(study)
        found = wait_for(lambda: len(s := orthanc.series(study)) == 4 and s)
        assert {modality: len(instances) for modality, instances in found.items()} == {
            "MR": len(images),
            "SEG": 1,
            "SR": 1,
            "OT": 1,
        }
        content = orthanc.read(f"/instances/{found['SEG'][0]}/file")
        assert len(orthanc.get("/studies")) == len(orthanc.get("/patients")) == 1
    segmentation = pydicom.dcmread(io.BytesIO(content))
    expected = segmented_slices(tmp_path / "dicom", tmp_path / "out", toy_bundle)
    assert expected.sum() == 16
    np.testing.assert_array_equal(
        segmentation.pixel_array.reshape(-1, *expected.shape[1:]), expected
    )


@needs_dcmtk
@pytest.mark.parametrize(
    "syntax",
    [
        pytest.param("--propose-implicit", marks=pytest.mark.exhaustive),
        pytest.param("--propose-big", marks=pytest.mark.exhaustive),
        "--propose-lossless",
    ],
)
def test_storescu_sends_in_any_transfer_syntax(tmp_path, toy_bundle, syntax):
    images = head_images(tmp_path / "nifti", who=person("MRN-1"))
    folder = tmp_path / "dicom"
    write_series(images, folder)
    if syntax == "--propose-lossless":
        for path in folder.iterdir():
            subprocess.run(["dcmcjpeg", path, path], check=True)
    with Node(tmp_path / "node", toy_bundle) as node:
        titles = ["-aet", CALLER, "-aec", "WMH"]
        command = ["storescu", *titles, syntax, "127.0.0.1", str(node.port), "+sd", str(folder)]
        subprocess.run(command, check=True, capture_output=True)
        assert len(wait_for(lambda: len(r := results_of(node.results, images)) == 3 and r)) == 3


@needs_dcmtk
def test_echoscu_gets_an_answer_and_an_unknown_title_does_not(tmp_path, toy_bundle):
    def echo(title):
        command = ["echoscu", "-aet", title, "-aec", "WMH", "127.0.0.1", str(node.port)]
        return subprocess.run(command, capture_output=True).returncode

    with Node(tmp_path / "node", toy_bundle) as node:
        assert echo(CALLER) == 0
        assert echo("STRANGER") != 0
