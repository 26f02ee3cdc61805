"""An exported network: a zip file with its program and what there is to know of it.

`network.stablehlo` is the program as `jax.export` serializes it. `model.json` is the run's own
(`runtime.model_file`), and under "export" what the program takes and gives, how an image is made
ready for it, and where it was exported. JAX and the standard library read both; docs/export.md
shows how.
"""

import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
from jax import export

from augmax_jax.inference.predictor import Predictor
from augmax_jax.runtime import compiler, files, model_file, parallel, untrusted
from augmax_jax.runtime.paths import RunPath

SUFFIX = ".zip"
NETWORK = "network.stablehlo"
FORMAT = 1  # of what stands under "export"

_PYTORCH = (".npz", ".pth", ".pt", ".safetensors")
_ZIP = b"PK\x03\x04"


def write(path: RunPath, program: export.Exported, info: Mapping[str, Any]) -> None:
    """Writes an exported network, atomically.

    Args:
        path: the file.
        program: uint8 images to logits.
        info: what `model.json` is to say, with "export" in it.

    Raises:
        OSError: the file cannot be written.
    """
    facts = {**info, "format": model_file.FORMAT, "export": {"format": FORMAT, **info["export"]}}
    contents = {
        model_file.MODEL: f"{files.dumps(facts, indent=2)}\n".encode(),
        NETWORK: bytes(program.serialize()),
    }

    def pack(partial: Path) -> None:
        with zipfile.ZipFile(partial, "w") as archive:  # not compressed, as weights hardly shrink
            for name, content in contents.items():
                member = zipfile.ZipInfo(name, time.localtime()[:6])
                member.external_attr = 0o644 << 16  # who unpacks it may let others read it
                archive.writestr(member, content)

    files.write_atomically(path, pack)


def read(path: RunPath) -> tuple[export.Exported, dict[str, Any]]:
    """Reads an exported network.

    Args:
        path: the file.

    Returns:
        The program, uint8 images to logits; and what `model.json` says.

    Raises:
        ValueError: the file is none, is damaged, or is of a later version of this package or of
            JAX.
        OSError: it cannot be read.
    """
    contents = _unpack(path)
    try:
        info = untrusted.parse_json(contents[model_file.MODEL].decode("utf-8"))
    except ValueError:
        _refuse(path)
    info = model_file.check(info, f"{model_file.MODEL} in {path}")
    facts = info.get("export")
    if not isinstance(facts, dict) or not isinstance(info["image_size"], int):
        _refuse(path)
    if facts.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {facts.get('format')}, and this version of augmax_jax reads "
            f"{FORMAT}: use the version that wrote it, or export the run again"
        )
    try:
        program = export.deserialize(bytearray(contents[NETWORK]))
    except Exception as error:  # JAX and flatbuffers raise many types
        versions = facts.get("versions")
        theirs = versions.get("jax") if isinstance(versions, dict) else None
        raise ValueError(
            f"{path} was exported with JAX {theirs}, and JAX {jax.__version__} cannot read it "
            f"({type(error).__name__}: {str(error)[:200]}): use that version, or export the run "
            "again"
        ) from error
    return program, info


def _unpack(path: RunPath) -> dict[str, bytes]:
    try:
        file = untrusted.Bounded(path)
    except OSError as error:
        raise OSError(f"{path} cannot be read ({error.strerror})") from error
    with file:
        if file.read(len(_ZIP)) != _ZIP:
            _refuse(path)
        try:
            with untrusted.open_zip(file) as archive:  # it compares checksums
                names = {model_file.MODEL, NETWORK} & set(archive.namelist())
                contents = {name: untrusted.read_member(archive, name) for name in names}
        except Exception as error:  # zipfile and zlib raise many kinds for damaged archives
            raise ValueError(
                f"{path} is damaged or is not whole ({error}): copy it anew, or export the run "
                "again"
            ) from error
    if len(contents) < 2:
        _refuse(path)
    return contents


def _refuse(path: RunPath) -> NoReturn:
    first = (
        "; a PyTorch file is imported first, with python -m augmax_jax.torch_import"
        if path.suffix.lower() in _PYTORCH
        else ""
    )
    raise ValueError(
        f"{path} is no exported network: give a run's --workdir, an import's --out, or a file "
        f"that python -m augmax_jax.export wrote{first}"
    )


class ExportedPredictor(Predictor):
    """An exported network: it predicts as the run that it comes from.

    It has no `model` and no `variables`: the program holds them, and gives neither back.

    Args:
        program: uint8 images to logits.
        info: what `model.json` says.

    Attributes:
        info: the same.
    """

    def __init__(self, program: export.Exported, info: dict[str, Any]) -> None:
        self.info, self.route = info, info["route"]
        options = compiler.jit_options(parallel.local_devices(1)[0].platform)
        score = jax.jit(program.call, compiler_options=options or None)
        self._serve(
            lambda images: np.asarray(score(images)),
            name=f"exported {info['model']}",
            num_classes=info["num_classes"],
            class_names=info["class_names"],
            image_size=info["image_size"],
            test_transform=info["test_transform"] or "resize",
        )

    def __getattr__(self, name: str) -> Any:
        if name in ("model", "variables"):
            raise AttributeError(
                f"an exported network has no {name}: the file holds its program alone. Load the "
                "run that it was exported from: augmax_jax.load(RUN)"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
