"""Names, units and bounds of all measures: the one place where bounds are decided.

docs/image-quality.md says how they were chosen, from 16 real scans, 24 phantoms of three sites, and
simulated artifacts in them.
"""

from __future__ import annotations

from wmh_runtime.image_quality.measure import Criterion

_LOOK = "look at the picture, and leave the scan out if lesions are hard to see"

NOISE = Criterion(
    name="noise",
    description="noise in white matter, of its intensity",
    unit="%",
    finding="the noise in white matter is {value} of its intensity",
    advice="more hides lesions, less is left after smoothing; " + _LOOK,
    lowest=1.0,
    highest=13.0,
)
GHOSTING = Criterion(
    name="ghosting",
    description="ghosts in the air beside the head, of white matter",
    unit="%",
    finding="ghosts in the air beside the head reach {value} of white matter",
    advice="the head moved or pulsated; " + _LOOK,
    highest=10.0,
)
SLICE_MOTION = Criterion(
    name="slice_motion",
    description="distance between the heads of even and odd slices",
    unit="mm",
    finding="the head lies {value} beside its place in every second slice",
    advice="it moved during the scan; " + _LOOK,
    highest=1.0,
)
SLICE_BRIGHTNESS = Criterion(
    name="slice_brightness",
    description="difference in brightness between even and odd slices, of white matter",
    unit="%",
    finding="every second slice differs in brightness, by {value} of white matter",
    advice="volumes may be wrong in every second slice; " + _LOOK,
    highest=4.0,
)
FIELD_OF_VIEW = Criterion(
    name="field_of_view",
    description="section in which the brain is cut off by the image, of its largest section",
    unit="%",
    finding="the brain ends at the {side} of the image with {value} of its largest section",
    advice="a part of the brain is missing; do not compare its volumes with those of whole brains",
    highest=20.0,
)
BIAS = Criterion(
    name="bias",
    description="slow change of the brightness of white matter",
    unit="%",
    finding="the brightness of white matter changes slowly over the brain, by {value}",
    advice="correct the bias field (N4), or look for lesions missed where the scan is dark",
    highest=35.0,
)

ALL = (NOISE, GHOSTING, SLICE_MOTION, SLICE_BRIGHTNESS, FIELD_OF_VIEW, BIAS)
