"""From what a user writes ("audio", "audio/drums", a folder, "hf://owner/name") to a model folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from polydiff.errors import PolydiffError, UsageError
from polydiff.models.manifest import MANIFEST, TABLES, WEIGHTS, Manifest, read_manifest
from polydiff.plugins.registry import get_registry

HUB = "hf://"
HEAD = 4096  # bytes of a file by which its domain is guessed


@dataclass(frozen=True)
class ModelFolder:
    """A model that was found: what it was asked for by, its local folder, and its manifest."""

    ref: str
    path: Path
    manifest: Manifest


def find_model(ref: str | Path) -> ModelFolder:
    """Where a model is and what it is, without its weights. Raises as `resolve` and `read_manifest`."""
    folder = resolve(ref)
    return ModelFolder(str(ref), folder, read_manifest(folder))


def resolve(ref: str | Path) -> Path:
    """The local folder of a model. A domain's name, with or without a preset, wins over a folder of that
    name (write "./audio" for the folder). Raises UsageError or PluginError in one line."""
    text = str(ref)
    if text.startswith(HUB):
        return _from_hub(text)
    registry = get_registry()
    found = registry.resolve_checkpoint(text)
    if found:
        return Path(found)
    domain, _, preset = text.partition("/")
    if domain.rpartition(":")[2] in {info.name for info in registry.domains()}:
        folder = registry.preset(domain, preset or None).folder
        return _from_hub(folder) if folder.startswith(HUB) else Path(folder)
    path = Path(text).expanduser()
    if path.exists():
        return path
    if "/" in text or "\\" in text or path.suffix:
        raise UsageError(f"{text}: no such model folder, and no plugin brings a domain {domain!r}.")
    registry.domain_info(text)  # raises, and says what there is
    raise UsageError(f"{text}: no such model.")


def domain_of(path: str | Path) -> str:
    """The domain of a file or folder, as plugins see it or its suffix says. Raises UsageError in one line
    where it is not there, or where no domain, or more than one, can read it."""
    path = Path(path)
    if not path.exists():
        raise UsageError(f"{path}: no such file.")
    head = b""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(HEAD)
    found = get_registry().guess_domain(str(path), head)
    if found is None:
        known = ", ".join(info.name for info in get_registry().domains()) or "none"
        raise UsageError(f"{path}: no domain can read it. Installed: {known}.")
    return found


def _from_hub(ref: str) -> Path:
    """Fetch a model folder, `hf://owner/name` or `hf://owner/name@revision`: its two files and its tables."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    name, _, revision = ref.removeprefix(HUB).partition("@")
    wanted = [MANIFEST, WEIGHTS, f"{TABLES}/*.json"]
    try:
        folder = snapshot_download(name, revision=revision or None, allow_patterns=wanted)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PolydiffError(f"{ref}: cannot be fetched ({why}).") from error
    return Path(folder)
