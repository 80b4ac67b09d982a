"""Controls that others have shared on the hub: one file of safetensors, no larger than it may be.

The file's header is JSON and holds the recipe; nothing else of a repository is fetched or read.
"""

from __future__ import annotations

from pathlib import Path

from sparks.errors import SparksError
from sparks.models.weights import find, is_hub_id
from sparks.settings.yaml import Settings

CONTROLS = "controls.safetensors"  # in a folder that `sparks export --format card` writes
LARGEST = 64 * 2**20  # bytes; those of LTX-2.3 take 17 million


def controls_file(run: Path) -> tuple[Path, bool]:
    """The controls of a run, of a folder made to be shared, or of a repository on the hub.

    Args:
        run: a folder, a file, or `owner/name`.

    Returns:
        The file, and whether it came from the hub.

    Raises:
        SparksError: the hub has none, or a larger one than controls are.
    """
    if run.is_dir():
        own = run / "best.safetensors"
        return (own if own.is_file() or not (run / CONTROLS).is_file() else run / CONTROLS), False
    if run.exists() or not is_hub_id(run.as_posix()):
        return run, False
    return _fetched(run.as_posix()), True


def check_here(recipe: Settings, settings: Settings, name: str) -> None:
    """See that a stranger's recipe makes nobody fetch a model that he has not named.

    Raises:
        SparksError: it names one that is not on this machine, and the user none.
    """
    for part, option in (("", "--model"), ("critic", "--critic"), ("judge", "--set judge.model=")):
        theirs, own = recipe["config"], settings
        if part:
            theirs, own = theirs.get(part) or {}, own.get(part) or {}
        model = theirs.get("model")
        if model is not None and own.get("model") is None and find(str(model)) is None:
            raise SparksError(
                f"the controls of {name} were made with the {part or 'model'} {str(model)!r}, "
                f"which is not on this machine; fetch it, or name it or another with {option}"
            )


def _fetched(name: str) -> Path:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        size = get_hf_file_metadata(hf_hub_url(name, CONTROLS)).size
        _check_size(name, size)
        path = Path(hf_hub_download(name, CONTROLS))
    except SparksError:
        raise
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:  # no repository, or no such file
        raise _missing(name, error) from error
    except Exception:  # no network: what was fetched before will do
        try:
            path = Path(hf_hub_download(name, CONTROLS, local_files_only=True))
        except Exception as error:
            raise _missing(name, error) from error
    _check_size(name, path.stat().st_size)
    return path


def _missing(name: str, error: Exception) -> SparksError:
    return SparksError(
        f"no {CONTROLS} of {name!r}, neither as a folder here nor on the hub "
        f"({type(error).__name__}); check the name, or the network"
    )


def _check_size(name: str, size: int | None) -> None:
    if size is None or size > LARGEST:
        told = "of unknown size" if size is None else f"{size / 2**20:.0f} MiB large"
        raise SparksError(
            f"{CONTROLS} of {name} is {told}; controls have {LARGEST // 2**20} MiB at most"
        )
