"""Small DICOM series with known numbers, and the forms in which they may come."""

import copy
import datetime
import random
import subprocess
import sys
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    generate_uid,
)

from wmh_runtime.dicom.files import find_files
from wmh_runtime.dicom.series import Series, survey
from wmh_runtime.phantom.dicom_series import FLAIR, Person, mr_series, write_series

SHAPE = (7, 5, 4)


def person(number="P1", day=datetime.date(2024, 2, 29), name="Doe^Jane", **uids) -> Person:
    return Person(name, number, day, **uids)


def oblique_affine(degrees=(10, -20, 5), spacing_mm=(0.9, 1.3, 4.0), origin_mm=(-31.0, 22.0, 7.0)):
    """An affine without symmetry: three rotations, three lengths, an origin."""
    x, y, z = np.radians(degrees)
    about_x = [[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]]
    about_y = [[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]]
    about_z = [[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]]
    affine = np.eye(4)
    affine[:3, :3] = np.array(about_x) @ about_y @ about_z * np.array(spacing_mm)
    affine[:3, 3] = origin_mm
    return affine


def voxels(shape=SHAPE, seed=1):
    """Different values everywhere."""
    count = int(np.prod(shape))
    return np.random.default_rng(seed).permutation(count).reshape(shape).astype(np.uint16)


def toy_series(affine=None, *, shape=SHAPE, sequence=FLAIR, number=5, who=None) -> list[Dataset]:
    affine = oblique_affine() if affine is None else affine
    return mr_series(voxels(shape), affine, sequence, who or person(), number)


def from_nifti(path: Path, **changes) -> list[Dataset]:
    """A real scan as a series; its rows run down, as scanners have it."""
    image = nib.load(path)
    stored = np.clip(np.rint(np.asarray(image.dataobj)), 0, 65535).astype(np.uint16)
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, 1] * (stored.shape[1] - 1)
    affine[:3, 1] *= -1
    who = changes.pop("who", None) or person()
    return mr_series(stored[:, ::-1], affine, changes.pop("sequence", FLAIR), who, 5)


def only_series(folder: Path) -> Series:
    (study,) = survey(find_files(folder)).studies
    (series,) = study.series
    return series


def shuffled(images: list[Dataset]) -> list[Dataset]:
    return random.Random(3).sample(images, len(images))


def copy_of(image: Dataset) -> Dataset:
    """The same image under a new UID, as a node that sends twice makes it."""
    other = copy.deepcopy(image)
    other.SOPInstanceUID = generate_uid()
    return other


def write_big_endian(images: list[Dataset], folder: Path) -> None:
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        image.PixelData = np.frombuffer(image.PixelData, "<u2").astype(">u2").tobytes()
        image.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        image.preamble = bytes(128)
        image.save_as(folder / f"{index}.dcm", implicit_vr=False, little_endian=False)


_COMPRESS = """
import sys, gdcm
for name in sys.argv[1:]:
    reader = gdcm.ImageReader()
    reader.SetFileName(name)
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(name)
    assert writer.Write()
"""


def compress(folder: Path) -> None:
    """Compress the files of a folder as lossless JPEG."""
    files = list(map(str, sorted(folder.iterdir())))
    subprocess.run([sys.executable, "-c", _COMPRESS, *files], check=True, capture_output=True)


def enhanced(images: list[Dataset]) -> Dataset:
    """One enhanced multi-frame file of the images of a series, in their order."""
    first = images[0]
    whole = Dataset()
    in_groups = " ".join(
        (
            "ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness PixelData",
            "SpacingBetweenSlices EchoTime RepetitionTime InversionTime ScanningSequence",
            "SequenceVariant ScanOptions EchoTrainLength FlipAngle WindowCenter WindowWidth",
        )
    )
    for element in first:
        if element.keyword not in in_groups.split():
            whole.add(element)
    whole.SOPClassUID = EnhancedMRImageStorage
    whole.SOPInstanceUID = generate_uid()
    whole.NumberOfFrames = len(images)
    whole.InstanceNumber = 1
    whole.EchoPulseSequence = "SPIN"
    whole.ImageType = ["ORIGINAL", "PRIMARY", "M", "NONE"]
    whole.SharedFunctionalGroupsSequence = Sequence([_shared_groups(first)])
    whole.PerFrameFunctionalGroupsSequence = Sequence(map(_frame_groups, images))
    whole.PixelData = b"".join(image.PixelData for image in images)
    whole.file_meta = type(first.file_meta)()
    whole.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    whole.file_meta.MediaStorageSOPClassUID = whole.SOPClassUID
    whole.file_meta.MediaStorageSOPInstanceUID = whole.SOPInstanceUID
    return whole


def _shared_groups(image: Dataset) -> Dataset:
    groups = Dataset()
    groups.PixelMeasuresSequence = [
        _item(
            PixelSpacing=image.PixelSpacing,
            SliceThickness=image.SliceThickness,
            SpacingBetweenSlices=image.SpacingBetweenSlices,
        )
    ]
    groups.PlaneOrientationSequence = [_item(ImageOrientationPatient=image.ImageOrientationPatient)]
    groups.MREchoSequence = [_item(EffectiveEchoTime=float(image.EchoTime))]
    groups.MRTimingAndRelatedParametersSequence = [
        _item(RepetitionTime=image.RepetitionTime, FlipAngle=image.FlipAngle)
    ]
    groups.MRModifierSequence = [
        _item(InversionRecovery="YES", InversionTimes=[float(image.InversionTime)])
    ]
    groups.MRImageFrameTypeSequence = [_item(FrameType=["ORIGINAL", "PRIMARY", "M", "NONE"])]
    groups.PixelValueTransformationSequence = [
        _item(RescaleIntercept="0", RescaleSlope="1", RescaleType="US")
    ]
    return groups


def _frame_groups(image: Dataset) -> Dataset:
    groups = Dataset()
    groups.PlanePositionSequence = [_item(ImagePositionPatient=image.ImagePositionPatient)]
    groups.FrameContentSequence = [
        _item(StackID="1", InStackPositionNumber=int(image.InstanceNumber))
    ]
    return groups


def _item(**values) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def legacy_enhanced(images: list[Dataset]) -> Dataset:
    """One legacy converted enhanced file, as a PACS makes it of a classic series."""
    return hd.legacy.LegacyConvertedEnhancedMRImage(
        images,
        series_instance_uid=generate_uid(),
        series_number=5,
        sop_instance_uid=generate_uid(),
        instance_number=1,
    )


def write(images, folder: Path) -> Path:
    write_series(images if isinstance(images, list) else [images], folder)
    return folder
