"""What all parts of a recipe share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# Bounds of nets: the papers' largest, and what a wrong file may ask for at most.
Width = Annotated[int, Field(ge=1, le=1024)]
Depth = Annotated[int, Field(ge=0, le=16)]


class Part(BaseModel):
    """Frozen, and a key that it does not know is an error, never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")
