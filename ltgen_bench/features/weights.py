"""Weights files: where they are, whether they are the right ones, and how they come into memory.

Three places, in this order: the path that is given, the path in the extractor's environment variable, and
`<weights_root>/<file name>`. The file in the default place has to be the published one, by sha256. A path that
somebody gives on purpose may hold other weights: their hash goes into the record and the distance gets another name.
"""

from __future__ import annotations

import importlib.util
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ltgen_bench.core.digests import digest_note, known_digest
from ltgen_bench.core.errors import CheckpointError, ConfigError, MissingExtraError, MissingFileError
from ltgen_bench.core.storage import MissingFile, atomic_path, sha256_file
from ltgen_bench.features.catalogue import EXTRACTORS, extractor_info
from ltgen_bench.features.info import ExtractorInfo

if TYPE_CHECKING:
    import torch

    from ltgen_bench.features.base import Extractor

_DOWNLOAD_BLOCK = 1 << 20  # bytes
_DOWNLOAD_TIMEOUT = 60.0  # seconds without an answer


def locate_weights(name: str, *, weights: Path | None = None, weights_root: Path) -> tuple[Path | None, bool]:
    """Where the weights of `name` are looked for, and whether somebody chose that place on purpose.

    The path is None when they come with a package that is not installed.
    """
    info = extractor_info(name)
    if weights is not None:
        return Path(weights), True
    if info.environment_variable and (chosen := os.environ.get(info.environment_variable)):
        return Path(chosen), True
    if info.package is not None:
        folder = _package_folder(info.package)
        if folder is None:
            return None, False
        found = [path for path in (folder / "weights", folder / "models") if (path / info.file_name).is_file()]
        return (found[0] if found else folder / "weights") / info.file_name, False
    return Path(weights_root) / info.file_name, False


def missing_weights(name: str, *, weights: Path | None = None, weights_root: Path) -> MissingFile | None:
    """What keeps `name` from being loaded, or None when its weights are there and are the right ones.

    Reads the whole file once for its sha256; imports no torch. Raises UnknownNameError for an unknown name.
    """
    return _missing(name, weights, weights_root)[0]


def weights_sha256(name: str, *, weights: Path | None = None, weights_root: Path) -> str | None:
    """The sha256 of the weights that `load_extractor` would read; None where `missing_weights` says what is missing."""
    missing, _, digest = _missing(name, weights, weights_root)
    return digest if missing is None else None


def _missing(
    name: str, weights: Path | None, weights_root: Path, *, fresh: bool = False
) -> tuple[MissingFile | None, Path | None, str]:
    """(what is missing, the path, the file's sha256 or "")."""
    info = extractor_info(name)
    path, on_purpose = locate_weights(name, weights=weights, weights_root=weights_root)
    absent = [package for package in info.requires if _package_folder(package) is None]
    if path is None or absent:
        wanted = " and ".join(absent or [str(info.package)])
        return MissingFile(Path(info.file_name), info.source, f"{wanted} not installed"), None, ""
    source = info.source
    if info.environment_variable and not on_purpose:
        source += f" (or name another place in {info.environment_variable})"
    if not path.is_file():
        return MissingFile(path, source, "a folder, not a file" if path.is_dir() else "missing"), path, ""
    if (problem := _not_weights(path)) is not None:
        return MissingFile(path, source, problem), path, ""
    digest = known_digest(path, digest_note(Path(weights_root).parent), fresh=fresh)
    if info.sha256 is not None and digest != info.sha256 and not on_purpose:
        reason = f"sha256 differs: {digest[:12]}... is not {info.sha256[:12]}..."
        return MissingFile(path, source, reason), path, digest
    return None, path, digest


def _not_weights(path: Path) -> str | None:
    """Why the file cannot be a weights file, by its first bytes; None when it may be one."""
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        return "empty"
    if head.lstrip()[:1] == b"<":
        return "a web page, not weights: an error page saved by a download"
    safetensors = len(head) > 8 and head[8:9] == b"{"
    if not (head.startswith((b"PK\x03\x04", b"\x80")) or safetensors):
        return "neither a PyTorch nor a safetensors file"
    return None


def _package_folder(package: str) -> Path | None:
    try:
        specification = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        return None
    places = None if specification is None else specification.submodule_search_locations
    return Path(next(iter(places))) if places else None


def download_weights(
    name: str,
    *,
    weights_root: Path,
    progress: Callable[[int, int], None] | None = None,
    open_url: Callable[..., object] = urllib.request.urlopen,
) -> Path:
    """Fetch the published weights of `name` into `weights_root` and return their path.

    Goes to a temporary file first; the name appears only after size and sha256 are right, so an error page or a cut
    connection leaves nothing behind. `progress(done, total)` gets bytes. A file that is there and right is kept.
    Raises MissingFileError when the fetch fails, ConfigError for weights that have no address.
    """
    info = extractor_info(name)
    if not info.downloadable:
        raise ConfigError(f"{name} has no weights to download: {info.source}")
    path = Path(weights_root) / info.file_name
    if path.is_file() and sha256_file(path) == info.sha256:
        return path
    with atomic_path(path) as temporary:
        _fetch(info, temporary, progress, open_url)
        digest = sha256_file(temporary)
        if digest != info.sha256:
            raise MissingFileError(
                f"{info.source} gave a file with another sha256 ({digest[:12]}... instead of "
                f"{str(info.sha256)[:12]}...), which was not kept; put the right one at {path}"
            )
    return path


def _fetch(
    info: ExtractorInfo,
    target: Path,
    progress: Callable[[int, int], None] | None,
    open_url: Callable[..., object],
) -> None:
    """Write the bytes at `info.source` to `target`; refuses more or fewer than `info.size` of them."""
    size = info.size or 0
    done = 0
    try:
        with open_url(info.source, timeout=_DOWNLOAD_TIMEOUT) as answer, target.open("wb") as file:  # type: ignore[attr-defined]
            while block := answer.read(_DOWNLOAD_BLOCK):
                done += len(block)
                if done > size:
                    break
                file.write(block)
                if progress is not None:
                    progress(done, size)
    except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it holds the connection
        reason = getattr(error, "reason", error)
        raise MissingFileError(
            f"cannot download {info.source}: {reason}; fetch it yourself and put it there"
        ) from error
    if done != size:
        length = f"more than {size}" if done > size else str(done)
        raise MissingFileError(f"{info.source} gave {length} bytes instead of {size}, which were not kept")


def load_extractor(
    name: str,
    *,
    device: str = "cpu",
    weights: Path | None = None,
    weights_root: Path,
    precision: str = "fp32",
) -> Extractor:
    """The feature extractor called `name` on `device`, with verified weights.

    `weights` names another weights file (its hash is recorded and the distance is not called FID then); by default
    the environment variable of the extractor and then `weights_root` are searched. `precision` is "fp32" or "bf16".
    Raises UnknownNameError, MissingFileError (which file, from where, where to put it), MissingExtraError (a package
    that is not installed), CheckpointError (a file that does not fit), ConfigError (precision), DeviceError.
    """
    info = extractor_info(name)
    # read now: its hash goes into records
    missing, path, digest = _missing(name, weights, weights_root, fresh=True)
    if missing is not None and path is None:
        raise MissingExtraError(f"{name} cannot be used ({missing.reason}): pip install 'ltgen-bench[{info.extra}]'")
    if missing is not None or path is None:
        raise MissingFileError(f"weights of {name}: {missing}")
    return EXTRACTORS.get(name).load(path, weights_sha256=digest, device=device, precision=precision)


def read_state(path: Path, *, name: str) -> dict[str, torch.Tensor]:
    """The tensors of a weights file by name, on the CPU; nothing in the file is executed.

    Reads safetensors and, with `weights_only=True`, PyTorch files. Raises CheckpointError for a truncated file
    or one of another kind.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # every library raises its own kind for a broken file
        raise CheckpointError(f"weights of {name} cannot be read from {path}: {_first_lines(error)}") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise CheckpointError(f"weights of {name} in {path} are not a dictionary of tensors")
    return state


def fitting_error(path: Path, name: str, error: Exception) -> CheckpointError:
    """The one-line error for weights that are readable and belong to another network."""
    return CheckpointError(f"the weights in {path} do not fit {name}: {_first_lines(error)}")


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (" ".join(lines[:2]) if lines else type(error).__name__)[:200]
