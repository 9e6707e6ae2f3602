"""Fetch voices from the Hugging Face hub by name."""

from __future__ import annotations

import re
from pathlib import Path

from sovits.errors import SovitsError, VoiceError

NATIVE = ".safetensors"


def fetch_voice(name: str, config: Path | None) -> tuple[Path, Path | None]:
    """Return the cached files of `owner/repo` or `owner/repo/file`: voice and settings.

    Without a file the repo's native voice is taken, or else its `G_*.pth` of the highest number.
    Without a network, what was fetched before is used.

    Raises:
        VoiceError: The name is none, the repo holds no voice, or it cannot be reached.
    """
    match = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:/(.+))?", name)
    if not match or ".." in name.split("/"):
        raise VoiceError.bad_hub_name(name)
    repo, file = match[1], match[2]
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        file = file or _best(repo, _files(repo))
        if not file.endswith(NATIVE) and config is None:
            beside = f"{file.rpartition('/')[0]}/config.json".lstrip("/")
            try:
                config = Path(hf_hub_download(repo, beside))
            except LocalEntryNotFoundError:
                raise
            except EntryNotFoundError as error:
                raise VoiceError.no_config_in_repo(repo, file, beside) from error
        return Path(hf_hub_download(repo, file)), config
    except SovitsError:
        raise
    # Whatever the network, the proxy or the server got wrong arrives as one of many classes.
    except Exception as error:
        because = type(error).__name__
        raise VoiceError.hub_unreachable(repo, file or "the voice", because) from error


def _files(repo: str) -> list[str]:
    """Return the files in a repo, or without a network those that were fetched before."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return list(HfApi().list_repo_files(repo))
    except RepositoryNotFoundError:
        raise
    except Exception as error:
        try:
            folder = Path(snapshot_download(repo, local_files_only=True))
        except LocalEntryNotFoundError:
            raise error from None
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*")]


def _best(repo: str, files: list[str]) -> str:
    """Return the voice among `files`."""
    native = sorted(file for file in files if file.endswith(NATIVE))
    if native:
        return native[0]
    numbered = [
        (int(match[1]), file)
        for file in files
        if (match := re.search(r"(?:^|/)G_(\d+)\.pth$", file))
    ]
    if not numbered:
        raise VoiceError.no_voice_in_repo(repo, len(files))
    return max(numbered)[1]
