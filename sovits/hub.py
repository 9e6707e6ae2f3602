"""Fetch voices from the Hugging Face hub by name, and know what was fetched before."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from sovits.errors import SovitsError, VoiceError

HUB = "hub:"
"""How the name of a voice on the Hugging Face hub begins."""
NATIVE = ".safetensors"
_REPO = r"[\w.-]+/[\w.-]+"


def fetch_voice(name: str, config: Path | None) -> tuple[Path, Path | None]:
    """Return the cached files of `owner/repo` or `owner/repo/file`: voice and settings.

    Without a file the repo's native voice is taken, or else its `G_*.pth` of the highest number.
    Without a network, what was fetched before is used.

    Raises:
        VoiceError: The name is none, the repo holds no voice, or it cannot be reached.
    """
    match = re.fullmatch(rf"({_REPO})(?:/(.+))?", name)
    if not match or ".." in name.split("/"):
        raise VoiceError.bad_hub_name(name)
    repo, file = match[1], match[2]
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        if file is None:
            files = _files(repo)
            file = best(files)
            if file is None:
                raise VoiceError.no_voice_in_repo(repo, len(files))
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


def cache_folder() -> Path:
    """Return where the hub's own client keeps what it fetched, without importing that client."""
    home = os.environ.get("XDG_CACHE_HOME", "~/.cache") + "/huggingface"
    hub = os.environ.get("HF_HOME", home) + "/hub"
    hub = os.environ.get("HF_HUB_CACHE", os.environ.get("HUGGINGFACE_HUB_CACHE", hub))
    return Path(os.path.expandvars(Path(hub).expanduser()))


def cached_repos() -> Iterator[tuple[str, Path]]:
    """Yield the name of each repo in the cache, and the folder of its newest revision."""
    for folder in sorted(cache_folder().glob("models--*--*")):
        repo = "/".join(folder.name.split("--")[1:])
        revisions = {path.name: path for path in (folder / "snapshots").glob("[!.]*")}
        main = folder / "refs/main"
        newest = main.read_text("utf-8", "replace").strip() if main.is_file() else ""
        if not re.fullmatch(_REPO, repo) or not revisions:
            continue
        by_age = sorted(revisions.values(), key=lambda path: (path.stat().st_mtime, path))
        yield repo, revisions.get(newest, by_age[-1])


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


def best(files: list[str]) -> str | None:
    """Return the voice that a repo of these files is taken for, if there is one."""
    native = sorted(file for file in files if file.endswith(NATIVE))
    if native:
        return native[0]
    numbered = [
        (int(match[1]), file)
        for file in files
        if (match := re.search(r"(?:^|/)G_(\d+)\.pth$", file))
    ]
    return max(numbered)[1] if numbered else None
