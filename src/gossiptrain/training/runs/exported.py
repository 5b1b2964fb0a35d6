"""An exported model: its tensors in one file, and beside it what they are, so that it can be built again anywhere.

    model.safetensors    the state dict
    model.json           task, arguments, step; what goes in and comes out; size and SHA-256 of the other file

Owns this form, and that nothing of it is believed before it is checked: both files may be anybody's. No pickle. Does
not know the tasks, nor how a model is built.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from gossiptrain.errors import CheckpointCorruptError, CheckpointError, UsageError
from gossiptrain.net.small_files import read_bounded
from gossiptrain.training.runs.whole_files import write_whole

TENSORS, DESCRIPTION = ".safetensors", ".json"
USUAL_NAME = "model.safetensors"
_FORMAT = "gossiptrain model"
LIMIT_BYTES = 1 << 20
MOST_CLASSES = 1_000_000
Word = Annotated[str, StringConstraints(max_length=128)]
Sentence = Annotated[str, StringConstraints(max_length=1024)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ModelArguments(_Part):
    """With which a task builds its model, as far as the task takes them."""

    model: Word | None = None
    image_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    classes: Annotated[int, Field(ge=1, le=MOST_CLASSES)] | None = None
    class_digest: Word | None = None

    def given(self) -> dict[str, Any]:
        """Those that there are."""
        return self.model_dump(exclude_none=True)


class ModelDescription(_Part):
    """What the tensors of a model are.

    gossiptrain: the version that wrote it. fingerprint: what peers of the run agreed on. inputs: what the model is to
    be given, in words. class_names, vocabulary: what its outputs stand for, as far as the task knows.
    """

    format: Literal["gossiptrain model"] = "gossiptrain model"
    version: Literal[1] = 1
    gossiptrain: Word
    task: Word
    arguments: ModelArguments
    fingerprint: Sentence
    step: Count
    inputs: Sentence
    class_names: Annotated[tuple[Word, ...], Field(max_length=MOST_CLASSES)] = ()
    vocabulary: Literal["bytes"] | None = None
    tensors_bytes: Count = 0
    tensors_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = "0" * 64


def description_of(tensors: Path) -> Path:
    """Where it stands what those tensors are."""
    return tensors.with_suffix(DESCRIPTION)


def write_export(path: Path, tensors: dict[str, Tensor], description: ModelDescription) -> Path:
    """Writes both files, the one with tensors to `path`, and returns where the other one is.

    description: its size and checksum are filled in. Raises OSError; UsageError where something else stands in the
    place of the description.
    """
    beside = description_of(path)
    if beside == path:
        raise UsageError(
            f"In {path.name} it is to stand what the model is.", remedy=f"Name it {path.with_suffix(TENSORS).name}."
        )
    if _is_something_else(beside):
        raise UsageError(
            f"What the model is would be written to {beside}, where something else is.",
            remedy="Give the model another name, or a folder of its own.",
        )
    metadata = {"task": description.task, "description": description.fingerprint, "step": str(description.step)}
    content = save({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, metadata)
    digest = hashlib.sha256(content).hexdigest()
    whole = description.model_copy(update={"tensors_bytes": len(content), "tensors_sha256": digest})
    # First the tensors: a description of others, where the second is not written, is noticed by its checksum.
    write_whole(path, content)
    write_whole(beside, whole.model_dump_json(indent=2, exclude_none=True).encode() + b"\n")
    return beside


def read_export(path: Path) -> tuple[ModelDescription, dict[str, Tensor]]:
    """An exported model from either of its files, or from the folder with a `model.safetensors`.

    Raises CheckpointError where there is none, CheckpointCorruptError where it is damaged.
    """
    tensors = _tensors_at(path)
    description = _read_description(description_of(tensors))
    try:
        size_bytes = tensors.stat().st_size
        if size_bytes != description.tensors_bytes:
            raise _corrupt(tensors, f"it has {size_bytes} bytes instead of {description.tensors_bytes}")
        with tensors.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != description.tensors_sha256:
            raise _corrupt(tensors, f"its content does not match the checksum in {description_of(tensors).name}")
        return description, load_file(tensors, backend="pread")
    except OSError as error:
        raise _corrupt(tensors, error.strerror or str(error)) from error
    except SafetensorError as error:
        raise _corrupt(tensors, str(error)) from error


def _tensors_at(path: Path) -> Path:
    tensors = path / USUAL_NAME if path.is_dir() else path
    if tensors.suffix == DESCRIPTION:
        tensors = tensors.with_suffix(TENSORS)
    if not tensors.is_file():
        raise CheckpointError(
            f"There is no exported model in {path}.",
            cause=f"Looked for {tensors}.",
            remedy=f"Name a run folder, or the file that `gossip export` has written, such as {USUAL_NAME}.",
        )
    return tensors


def _read_description(path: Path) -> ModelDescription:
    try:
        content = read_bounded(path, limit_bytes=LIMIT_BYTES)
    except OSError as error:
        raise _corrupt(path, error.strerror or str(error)) from error
    except ValueError as error:
        raise _corrupt(path, str(error)) from error
    if content is None:
        raise CheckpointError(
            f"There is no {path}, in which it stands what the model is.",
            cause="`gossip export` writes it beside the tensors; older versions did not.",
            remedy="Bring it from where the tensors are from, or export the run again.",
        )
    try:
        return ModelDescription.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "it"
        raise _corrupt(path, f"{place}: {first['msg']}") from error


def _is_something_else(path: Path) -> bool:
    """Whether there is a file that no export has written."""
    try:
        content = read_bounded(path, limit_bytes=LIMIT_BYTES)
    except (OSError, ValueError):
        return True
    return content is not None and _FORMAT.encode() not in content


def _corrupt(file: Path, reason: str) -> CheckpointCorruptError:
    return CheckpointCorruptError(
        f"The file {file} is unusable: {reason}.",
        cause="It may have been copied only in part, damaged on disk, or written by another version of gossiptrain.",
        remedy="Copy it again together with the one beside it, or export the run again.",
    )
