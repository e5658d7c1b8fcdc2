"""What every file of facts is made of: manifests, records, recipes, measurements."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Facts that are stored and read back: unknown keys, infinities and NaN are refused.

    Values never change.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
