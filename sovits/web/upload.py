"""A form that was sent becomes a job."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from dataclasses import replace
from threading import Lock
from typing import Any, NamedTuple

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from sovits.choices import FILES, check_f0_method
from sovits.config import ConvertOptions, build
from sovits.errors import ConfigError, ServerError, one_line
from sovits.web.gate import FORM_BYTES
from sovits.web.schema import option_kinds, read_option
from sovits.web.settings import ServerSettings
from sovits.web.store import Job, Store
from sovits.web.voices import usable_voice

MOST_FIELDS = 64
"""Fields that a form may have."""
MOST_NAME = 80
"""Characters of a sound's name that are kept."""


class Asked(NamedTuple):
    """What a form asks for."""

    audio: UploadFile
    voice: str
    options: dict[str, Any]


class Uploads:
    """Takes sounds in, as many as may be at once.

    Args:
        store: Where jobs go.
        settings: What may be taken.
    """

    def __init__(self, store: Store, settings: ServerSettings) -> None:
        self.store, self.settings = store, settings
        self._under_way = 0
        self._adding = Lock()

    async def take(self, request: Request, session: str, turn: str) -> Job:
        """Return the job that a request asks for, once it is kept.

        Args:
            request: A form, not read yet.
            session: Whose job it shall be.
            turn: With whose jobs it takes turns.

        Raises:
            SovitsError: The form cannot be read, or is not taken.
        """
        settings, owner, turn = self.settings, digest(session), digest(turn)
        self._check_room(turn)
        if self._under_way >= settings.max_uploads:
            raise ServerError.too_many_uploads(settings.max_uploads)
        self._under_way += 1
        try:
            try:
                async with asyncio.timeout(settings.upload_seconds):
                    form = await request.form(
                        max_files=1, max_fields=MOST_FIELDS, max_part_size=FORM_BYTES
                    )
            except TimeoutError as error:
                raise ServerError.too_slow(settings.upload_seconds) from error
            except (HTTPException, ClientDisconnect) as error:
                raise ServerError.no_form() from error
            try:
                return await self._keep(read_form(form), owner, turn)
            finally:
                await form.close()
        finally:
            self._under_way -= 1

    def _check_room(self, turn: str) -> None:
        """Refuse a job for which there is no room, before its sound is read.

        Raises:
            ServerError: There is none.
        """
        settings, store = self.settings, self.store
        if store.waiting(turn) >= settings.max_waiting_each:
            raise ServerError.queue_full(settings.max_waiting_each, "of yours")
        if store.waiting() >= settings.max_waiting:
            raise ServerError.queue_full(settings.max_waiting, "of all")
        coming = (self._under_way + 1) * settings.max_upload_bytes
        if store.stored() + coming > settings.max_stored_bytes:
            raise ServerError.store_full(settings.max_stored_bytes)

    async def _keep(self, asked: Asked, owner: str, turn: str) -> Job:
        name = self.store.new_id()
        path = self.store.path(name, "sound")

        def copy() -> int:
            with path.open("xb") as file:
                shutil.copyfileobj(asked.audio.file, file)
            return path.stat().st_size

        job = Job(
            id=name,
            owner=owner,
            turn=turn,
            name=shown_name(asked.audio.filename),
            voice=asked.voice,
            options=asked.options,
            state="queued",
            created=time.time(),
            begun=None,
            ended=None,
            starts=0,
            error=None,
            size=0,
        )
        try:
            job = replace(job, size=await asyncio.to_thread(copy))
            with self._adding:
                self._check_room(turn)  # which others may have taken meanwhile
                self.store.add(job)
        except BaseException:
            self.store.remove(name)
            raise
        return job


def read_form(form: FormData) -> Asked:
    """Return what a form asks for, once all of it is understood.

    Raises:
        SovitsError: A field is missing, unknown, or has a value that it cannot have.
    """
    fields: dict[str, UploadFile | str] = {}
    for name, value in form.multi_items():
        if name in fields:
            raise ConfigError.repeated_key(name)
        fields[name] = value
    audio, voice = fields.pop("audio", None), fields.pop("voice", None)
    if not isinstance(audio, UploadFile):
        raise ServerError.no_field("audio")
    if not isinstance(voice, str):
        raise ServerError.no_field("voice")
    table: dict[str, Any] = {}
    for name, value in fields.items():
        if name in FILES:
            raise ServerError.names_a_file(name)
        if name not in option_kinds():
            raise ConfigError.unknown_key(name, option_kinds())
        if not isinstance(value, str):
            raise ServerError.no_field(name)
        if value:  # pages send what was left empty, too
            table[name] = read_option(name, value)
    if "f0_method" in table:
        table["f0_method"] = check_f0_method(table["f0_method"])
    build(ConvertOptions, table)
    usable_voice(voice)
    return Asked(audio, voice, table)


def shown_name(name: str | None) -> str:
    """Return what to call a sound: the end of its name, with nothing that upsets a terminal."""
    last = (name or "").replace("\\", "/").rpartition("/")[2]
    return one_line(last)[:MOST_NAME] or "sound"


def digest(secret: str) -> str:
    """Return what a secret is known by, where it need not be kept."""
    return hashlib.sha256(secret.encode()).hexdigest()
