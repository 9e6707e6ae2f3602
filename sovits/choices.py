"""What may be chosen for a conversion, in words: told without torch, to make flags and forms of."""

from __future__ import annotations

import ast
import inspect

from sovits.errors import PitchError

F0_METHODS = ("swift", "crepe", "crepe-tiny", "fcpe", "rmvpe", "harvest", "dio", "pm")
"""Names of the pitch methods; known here too, so that a wrong one is noticed without torch."""
F0_ALIASES = {"parselmouth": "pm"}
"""Other names that people type for a pitch method."""
FILES = ("mix", "retrieval", "refiner", "refiner_config", "vocoder")
"""Options of a conversion that name files."""


def check_f0_method(name: str) -> str:
    """Return the pitch method that `name` means.

    Raises:
        PitchError: There is no such method.
    """
    name = F0_ALIASES.get(name, name)
    if name not in F0_METHODS:
        raise PitchError.unknown_method(name, F0_METHODS)
    return name


def field_docs(kind: type) -> dict[str, str]:
    """Return the sentence under each field of a dataclass."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    docs: dict[str, str] = {}
    name = None
    for node in body.body if isinstance(body, ast.ClassDef) else []:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and name:
            docs[name] = " ".join(str(node.value.value).split())
    return docs
