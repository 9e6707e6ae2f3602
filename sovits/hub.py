"""Fetch voices from the Hugging Face hub by name."""

from __future__ import annotations

import re
from pathlib import Path

from sovits.errors import VoiceError


def fetch_voice(name: str, config: Path | None) -> tuple[Path, Path | None]:
    """Return the cached files of `owner/repo` or `owner/repo/file`: voice and settings.

    Without a file the repo's native voice is taken, or else its `G_*.pth` of the highest number.

    Raises:
        VoiceError: The name is none, the repo holds no voice, or it cannot be reached.
    """
    match = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:/(.+))?", name)
    if not match:
        raise VoiceError.bad_hub_name(name)
    repo, file = match[1], match[2]
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        if file is None:
            file = _best(repo, HfApi().list_repo_files(repo))
        if file.endswith(".safetensors"):
            return Path(hf_hub_download(repo, file)), config
        if config is None:
            folder = file.rpartition("/")[0]
            config = Path(hf_hub_download(repo, f"{folder}/config.json".lstrip("/")))
        return Path(hf_hub_download(repo, file)), config
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        if file is not None:
            cached = try_to_load_from_cache(repo, file)
            if isinstance(cached, str) and (config or file.endswith(".safetensors")):
                return Path(cached), config
        raise VoiceError.hub_unreachable(repo, file or "the voice", type(error).__name__) from error


def _best(repo: str, files: list[str]) -> str:
    native = sorted(file for file in files if file.endswith(".safetensors"))
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
