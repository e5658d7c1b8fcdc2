"""Names of real scanners, programs and published data sets, with the contrast of their images."""

from pathlib import Path

import pytest

from wmh_runtime.dataset.names.contrast import contrast_from_names

NAMES = {
    "FLAIR": [
        "FLAIR.nii.gz",
        "sub-1_FLAIR.nii.gz",
        "sub-1_ses-2_acq-3D_run-1_FLAIR.nii",
        "T2_FLAIR.nii.gz",
        "T2_FLAIR_brain.nii.gz",
        "T2_FLAIR_unbiased_brain.nii.gz",
        "flair_preprocessed.nii",
        "3DFLAIR.nii.gz",
        "FLAIR_brain.nii",
        "rFLAIR.nii",
        "wmFLAIR.nii",
        "mFLAIR.nii",
        "FLAIR_reg.nii.gz",
        "FLAIR_to_MNI152.nii.gz",
        "FLAIR2T1.nii.gz",
        "FLAIR_space-T1w.nii.gz",
        "sub-1_space-T1w_FLAIR.nii.gz",
        "t2_tirm_tra_dark-fluid.nii",
        "t2_tirm_TRA_dark-fluid_3mm.nii",
        "t2_space_dark-fluid_sag_p2_iso.nii",
        "t2_spc_da-fl_irprep_sag_p2_iso.nii.gz",
        "t2_space_darkfluid.nii",
        "t2_blade_dark_fluid_tra.nii",
        "t2_qtse_dark-fluid.nii",
        "*spcir_278ns.nii",
        "t2_flair_sag_p2_iso.nii",
        "t2_space-flair_sag.nii",
        "TIRM.nii",
        "t2_spc_flair.nii",
        "Sag_CUBE_T2_FLAIR.nii",
        "Sag_CUBE_FLAIR.nii",
        "Ax_T2_FLAIR_PROPELLER.nii",
        "AX_FLAIR_T2.nii",
        "3D_Brain_VIEW_FLAIR_SHC.nii",
        "WIPcs_3D_Brain_VIEW_FLAIR_SHC.nii",
        "VISTA_FLAIR.nii",
        "T2W_FLAIR.nii",
        "sT2W_FLAIR.nii",
        "FLAIR_LongTR_SENSE.nii",
        "Fast_FLAIR_JET.nii",
        "FastFLAIR.nii",
        "3D_MPV_FLAIR.nii",
        "isoFSE_FLAIR.nii",
        "Fluid_attenuated_T2.nii",
        "AX_T2_FLR.nii",
        "FLAIR_post_Gd.nii",
        "FLAIR+C.nii",
        "BraTS-GLI-00000-000-t2f.nii.gz",
        "training01_01_flair_pp.nii",
        "flair_time01_on_middle_space.nii.gz",
        "Utrecht/0/orig/FLAIR.nii.gz",
        "T1/FLAIR.nii.gz",
        "FLAIR/c.nii",
        "FLAIR_study/PD_001/x.nii",
        "PD_001_FLAIR.nii",
        "T1D_023_FLAIR.nii",
        "WMH_012_FLAIR.nii",
        "FLAIR_PD_001.nii",
        "FLAIR_WMH_012.nii",
        "sub-T1x_FLAIR.nii",
        "P1_ses-T1_FLAIR.nii",
        "T2_FLAIR_orig_defaced.nii",
        "FLAIR_masked.nii",
        "T1_T2_FLAIR.nii",
        "P1_T2_FLAIR.nii",
        "FLAIR_reg_T1.nii",
        "FLAIR_coreg_T1.nii",
        "FLAIR_regT1.nii",
        "FLAIR_warped_T1.nii",
        "FLAIR_T1_aligned.nii",
        "FLAIR_T1w_space.nii",
        "FLAIR_MPRAGEspace.nii",
        "FLAIR_EPI_corrected.nii",
        "FLAIR_PET_MR.nii",
        "FLAIR_Smith_MD.nii",
        "T2_FLAIR_reg.nii",
        "t2_tirm_tra_dark-fluid_reg.nii",
        "t2_space_flair.nii",
        "T2_FLAIR_space.nii",
        "regFLAIR.nii",
        "P12FLAIR.nii",
        "MSSEG_001_FLAIR.nii",
        "WMHSeg_01_FLAIR.nii",
        "MSLesion01_FLAIR.nii",
        "lesion_01_FLAIR.nii",
        "AX_T2_FLAIR_LESION_PROTOCOL.nii",
        "FLAIR_nomask.nii",
        "FLAIR_without_lesion.nii",
        "HI-RES-FLAIR.nii",
        "Ax-Hi-Res-FLAIR.nii",
        "3D-DIR-FLAIR.nii",
        "Gradient-Echo-FLAIR.nii",
    ],
    "T1": [
        "sub-19_space-FLAIR_T1w.nii.gz",
        "T1_to_FLAIR.nii",
        "T1_in_FLAIR.nii",
        "T1onFLAIR.nii",
        "T1inFLAIR.nii",
        "T1regFLAIR.nii",
        "T1reg2FLAIR.nii",
        "T1brain2FLAIR.nii",
        "T1_to_T2_FLAIR.nii",
        "reg_3DT1_to_FLAIR.nii.gz",
        "T12FLAIR.nii",
        "T1toFLAIR.nii",
        "MPRAGE.nii",
        "t1_mprage_sag_p2_iso.nii",
        "MPRAGEadni.nii",
        "3DT1.nii",
        "T1Gd.nii",
        "T1CE.nii",
        "T1_3D_TFE_GD.nii",
        "t1ce.nii",
        "T1c.nii",
        "Sag_3D_FSPGR_BRAVO.nii",
        "BRAVO.nii",
        "sT1W_3D_TFE.nii",
        "T1W_3D_TFE.nii",
        "sub-FLAIR01_T1w.nii.gz",
        "FLAIR_T1.nii",
        "FLAIR_study/T1/x.nii",
        "Utrecht/0/pre/T1.nii.gz",
        "sub-1_UNIT1.nii",
        "BraTS-GLI-00000-000-t1n.nii.gz",
    ],
    "T1 FLAIR": [
        "Ax_T1_FLAIR.nii",
        "P1/T1/P1_T1_FLAIR.nii.gz",
        "ST1_FLAIR.nii",
        "RT1_FLAIR.nii",
        "T1FLAIR.nii",
        "t1_tirm_tra_dark-fluid.nii",
        "Sag_T1_CUBE_FLAIR.nii",
    ],
    "contrast-enhanced": [
        "postcontrast.nii",
        "ax_post_contrast.nii",
        "Gd.nii",
    ],
    "T2": [
        "T2.nii",
        "t2_tse_tra_512.nii",
        "t2_space_sag_p2_iso.nii",
        "T2_to_FLAIR.nii",
        "T22FLAIR.nii",
        "T2_2_FLAIR.nii",
        "T2_FLAIRspace.nii",
        "T2_regFLAIR.nii",
        "sub-1_T2w.nii.gz",
        "T2W_TSE.nii",
    ],
    "T2*": [
        "T2star.nii",
        "T2*.nii",
        "sub-1_T2starw.nii",
        "t2_star.nii",
        "GRE.nii",
    ],
    "FLAIR*": [
        "FLAIRstar.nii",
        "FLAIR_star.nii",
    ],
    "PD": [
        "pd_tse_cor.nii",
        "sub1_PD.nii",
        "sub-1_PDw.nii.gz",
    ],
    "SWI": [
        "SWI.nii",
        "Ax_SWAN.nii",
        "SWIp.nii",
        "SWI_FLAIR_space.nii",
    ],
    "diffusion": [
        "DWI.nii",
        "sub-1_dwi.nii.gz",
        "ADC.nii",
        "ep2d_diff_4scan_trace_p2_ADC.nii",
        "DTI_FA.nii",
        "rDWI_FLAIR.nii",
        "FLAIR_to_DWI/x_b1000.nii",
    ],
    "perfusion": [
        "ASL.nii",
        "pCASL.nii",
        "sub-1_asl.nii.gz",
        "CBF.nii",
    ],
    "angiography": [
        "TOF.nii",
        "tof_fl3d_tra_TOF.nii",
        "MRA.nii",
        "sub-1_angio.nii",
    ],
    "functional": [
        "ep2d_bold_rest.nii",
        "sub-1_task-rest_bold.nii.gz",
        "rsfMRI.nii",
    ],
    "localizer": [
        "localizer.nii",
        "AAHead_Scout.nii",
        "AAHScout.nii",
    ],
    "CT": [
        "CT.nii",
    ],
    "mask": [
        "FLAIR_lesion.nii",
        "FLAIR_brainmask.nii",
        "ples_lpa_mFLAIR.nii",
        "ples_lpa_mrFLAIR.nii",
        "LCL_ples_lpa_mFLAIR_bl_ples_lpa_mFLAIR_fu.nii.gz",
        "sub-1_label-WMH_mask.nii.gz",
        "sub-1_label-WMH_probseg.nii.gz",
        "a_FLAIR_seg.nii",
        "FLAIR_wmh.nii",
        "wmh.nii.gz",
        "Utrecht/0/wmh.nii.gz",
        "sub-07_space-MNI_lesion.nii.gz",
        "FLAIR_brain_mask.nii",
        "BrainMask.nii",
        "ManualSegmentation_1.nii.gz",
        "Consensus.nii.gz",
        "ground_truth.nii.gz",
        "masks/sub-1_FLAIR.nii.gz",
        "flair_masks/1.nii.gz",
        "labelsTr/WMH_001.nii.gz",
        "lesions/final_mask.nii.gz",
        "3DT1_mask.nii.gz",
        "aseg.mgz",
        "training01_01_mask1.nii",
        "BraTS-GLI-00000-000-seg.nii.gz",
        "c1FLAIR.nii",
        "p1FLAIR.nii",
        "mwp1FLAIR.nii",
        "smwc1FLAIR.nii",
        "mwp1sub-1_FLAIR.nii",
        "FLAIR_WMHprob.nii",
        "FLAIR_WMHmap.nii",
        "FLAIR_pvwmh.nii",
        "FLAIR_dWMH.nii",
        "FLAIR_CSF.nii",
        "FLAIR_heatmap.nii",
        "lesion2FLAIR.nii",
        "FLAIR_bianca_output.nii.gz",
        "FLAIR_samseg.mgz",
        "FLAIR_pve_1.nii.gz",
        "FLAIR_bin_thr05.nii.gz",
        "result.nii.gz",
        "T1_lesion_mask_filled.nii",
    ],
    "non-FLAIR": [
        "non-FLAIR.nii",
    ],
    "FLAIR within another word": [
        "MartinFLAIR.nii",
    ],
    None: [
        "PD_001.nii",
        "T1D_023.nii",
        "st1ll.nii",
        "x.nii",
        "WMH_001.nii",
        "sub-FLAIR01.nii",
        "PD012.nii",
        "MSSEG_001.nii",
        "scan.nii.gz",
        "MS_012.nii",
        "subject_T2DM_3.nii",
        "3D_SAG.nii",
        "imagesTr/BRATS_001_0000.nii.gz",
        "wmh_study/x.nii",
        "PD/sub1.nii",
        "CT/scan.nii",
        "survey 2019/phase 2/x.nii",
        "sub-T1/anat/x.nii",
    ],
    "field map": [
        "FLAIR_biasfield.nii",
        "gre_b0map.nii",
    ],
}


@pytest.mark.parametrize(
    ("name", "contrast"), [(name, contrast) for contrast, names in NAMES.items() for name in names]
)
def test_the_contrast_of_a_name(name, contrast):
    assert contrast_from_names(Path(name)) == contrast


def test_the_case_of_letters_does_not_matter():
    names = [name for names in NAMES.values() for name in names if "/" not in name]
    for name in names:
        assert contrast_from_names(Path(name.upper())) == contrast_from_names(Path(name.lower()))


CONTRASTS = (
    "T1 T1w 3DT1 MPRAGE MP2RAGE BRAVO FSPGR TFE T2 T2w T2star GRE HASTE PD PDw SWI SWAN QSM DWI DTI"
    " ADC FA MD b1000 ASL pCASL PWI DSC CBF TOF MRA BOLD fMRI EPI STIR PSIR MTR CT CTA PET FDG"
)
REGISTERED_TO_FLAIR = (
    *("{}toFLAIR", "{}2FLAIR", "{}onFLAIR", "{}inFLAIR", "{}regFLAIR", "{}reg2FLAIR"),
    *("{}_coreg_FLAIR", "{}_reg_FLAIR", "{}_to_FLAIR", "{}_warped_FLAIR", "{}_regFLAIR"),
    *("{}_FLAIRspace", "{}brain2FLAIR", "sub1_{}2FLAIR", "{}_to_T2_FLAIR", "{}toT2FLAIR"),
)


@pytest.mark.parametrize("registered", REGISTERED_TO_FLAIR)
@pytest.mark.parametrize("contrast", CONTRASTS.split())
def test_an_image_that_was_registered_to_flair_keeps_its_contrast(contrast, registered):
    assert contrast_from_names(Path(f"{registered.format(contrast)}.nii")) == contrast_from_names(
        Path(f"{contrast}.nii")
    )


@pytest.mark.parametrize(
    "registered",
    ["FLAIRto{}", "FLAIR2{}", "FLAIR_coreg_{}", "FLAIR_reg_{}", "FLAIR_to_{}", "FLAIR_{}space"],
)
@pytest.mark.parametrize("contrast", CONTRASTS.split())
def test_a_flair_scan_that_was_registered_stays_flair(contrast, registered):
    assert contrast_from_names(Path(f"{registered.format(contrast)}.nii")) == "FLAIR"


PARTS = [
    *("rm", "mra2d", "w3d", "t1", "t1w", "t2w", "2d", "n3", "cor", "fse", "lesion", "wmhmap"),
    *("sub-1_", "_to_t1", "t1to", "reg2", "t1_reg_", "p1"),
]


@pytest.mark.parametrize("part", PARTS)
def test_long_names_take_no_time(part):  # they would otherwise never end
    many = part * (120 // len(part))
    for name in (f"{many}{many}_", f"{many}flair{many}x", f"{many}flairx"):
        contrast_from_names(Path(f"{name}.nii"))
