"""The configuration of a node: one TOML file, checked before anything starts."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from wmh_runtime.errors import InputError
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.inference.options import InferenceOptions
from wmh_runtime.precision import Precision
from wmh_runtime.schema import StrictModel, describe_validation_error
from wmh_runtime.tta import Tta


def _require_absolute(path: Path) -> Path:
    """Refuse a path that depends on where the service is started."""
    if not path.is_absolute():
        raise ValueError(f"got {path}, expected an absolute path")
    return path


def _require_title(title: str) -> str:
    """Refuse what is no title of a node."""
    if not _TITLE.fullmatch(title):
        raise ValueError(f"got {title!r}, expected 1 to 16 characters without spaces")
    return title


AeTitle = Annotated[str, AfterValidator(_require_title)]
AbsolutePath = Annotated[Path, AfterValidator(_require_absolute)]
Port = Annotated[int, Field(ge=1, le=65535)]
_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e]{1,16}")
_BYTES_IN_GB = 1_000_000_000
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"


class Tls(StrictModel):
    """Certificates, as files in PEM format."""

    certificate: AbsolutePath
    key: AbsolutePath
    authority: AbsolutePath  # that signed the certificates of the other side


class Listen(StrictModel):
    """Where the node receives images, and from whom."""

    ae_title: AeTitle
    allowed: tuple[AeTitle, ...] = Field(min_length=1)  # AE titles of nodes that may send
    host: str = ""  # address to listen on; empty: all of this machine
    port: Port = 11112
    max_associations: int = Field(default=10, ge=1)
    max_image_mb: int = Field(default=500, ge=1)  # of one received file
    tls: Tls | None = None


class Study(StrictModel):
    """When a study is complete, and which of its series is segmented."""

    quiet_s: float = Field(default=60.0, ge=0)  # without a new image: then it is complete
    complete_on_release: bool = False  # it is complete when its sender ends the association
    series: str = ""  # as of `wmh-infer --series`
    attempts: int = Field(default=3, ge=1)  # to segment a study
    keep_h: float = Field(default=24.0, ge=0)  # images and results, after it is done


class Model(StrictModel):
    """The model, and how it is run."""

    bundle: str = "base"  # a folder, or the name of a model of this package
    tta: Tta = "full"
    precision: Precision = "fp32"
    backend: str = "auto"
    gpus: tuple[int, ...] = ()
    threads: int | None = Field(default=None, ge=1)

    @property
    def options(self) -> InferenceOptions:
        """As the rest of the program takes them; InputError: a value is not possible."""
        return InferenceOptions(
            tta=self.tta,
            precision=self.precision,
            backend=self.backend,
            gpus=self.gpus,
            threads=self.threads,
        )


ResultKind = Literal["segmentation", "report", "picture", "probability"]


class Destination(StrictModel):
    """A node that gets the results."""

    name: str = Field(pattern=_NAME)  # for the log
    ae_title: AeTitle
    host: str
    port: Port
    tls: Tls | None = None


class Results(StrictModel):
    """What becomes of the results."""

    destinations: tuple[Destination, ...] = ()
    folder: AbsolutePath | None = None  # to write them to, in addition
    kinds: tuple[ResultKind, ...] = ("segmentation", "report", "picture")

    @model_validator(mode="after")
    def _check(self) -> Results:
        if not self.destinations and self.folder is None:
            raise ValueError("needs a destination or a folder")
        names = [one.name for one in self.destinations]
        if len({*names}) < len(names):
            raise ValueError("two destinations have the same name")
        return self


class Status(StrictModel):
    """The pages /healthz and /metrics, on this machine only."""

    port: Port = 8042
    min_free_gb: float = Field(default=2.0, ge=0)  # with less disk space, images are refused


class NodeConfig(StrictModel):
    """The whole configuration."""

    folder: AbsolutePath  # of the queue; holds data of patients
    listen: Listen
    results: Results
    study: Study = Study()
    model: Model = Model()
    status: Status = Status()

    @model_validator(mode="after")
    def _check(self) -> NodeConfig:
        if self.status.port == self.listen.port:
            raise ValueError("listen.port and status.port are the same")
        if self.results.folder == self.folder:
            raise ValueError("results.folder is the folder of the queue")
        return self

    @property
    def min_free_bytes(self) -> int:
        """Disk space below which nothing is received or segmented."""
        return int(self.status.min_free_gb * _BYTES_IN_GB)


def read_config(path: Path) -> NodeConfig:
    """Read a configuration file.

    Raises:
        InputError: it cannot be read, or a value is missing, unknown or not possible.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        advice = "Give the TOML file of the node."
        raise InputError(f"cannot be read ({reason_of(error)})", advice, about=path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"is no TOML ({error})", "Correct it.", about=path) from error
    try:
        return NodeConfig.model_validate(content)
    except ValidationError as error:
        problem = describe_validation_error(error)
        raise InputError(problem, "Correct it; docs/dicom.md has all names.", about=path) from error
