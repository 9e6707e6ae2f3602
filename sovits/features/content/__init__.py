"""What is said, frame by frame: ContentVec, HuBERT-soft, Whisper, and a small one of our own."""

from __future__ import annotations

from sovits.features.content.encoder import ContentEncoder, ContentSpec, stretch
from sovits.features.content.registry import CONTENT, load_content_encoder

__all__ = ["CONTENT", "ContentEncoder", "ContentSpec", "load_content_encoder", "stretch"]
