"""Recipes from YAML: overlays on bases, ``--set`` overrides, and a hash that names the result.

A recipe file is a mapping after :class:`vqlink.config.schema.Recipe`. ``base: FILE`` names another
file that it is laid over; bases are looked for beside the file, then among the shipped recipes.
"""

from __future__ import annotations

import hashlib
import json
import os
import types
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from vqlink.config.schema import Recipe
from vqlink.errors import did_you_mean, one_line
from vqlink.protocols import VqlinkError

RECIPES = Path(str(resources.files("vqlink.recipes")))
"""Folder of the shipped recipes; ``RECIPES / "base"`` holds what they are laid over."""
RecipeKind = Literal["code", "speech", "prior", "classifier"]
"""What a recipe is of; each has a schema of its own. ``code``: for pictures and text."""

_FOLDERS: dict[RecipeKind, Path] = {
    "code": RECIPES,
    "speech": RECIPES / "speech",
    "prior": RECIPES / "prior",
    "classifier": RECIPES / "classifier",
}
_NOT_A_CODE: dict[RecipeKind, str] = {
    "speech": "for speech, not for pictures or text",
    "prior": "of a prior, not of a code",
    "classifier": "of a classifier, not of a code",
}

Tree = dict[str, Any]
_Model = TypeVar("_Model", bound=BaseModel)

_MAX_BYTES = 1 << 20  # of a recipe file

_LATER: dict[str, dict[str, Any]] = {
    "training": {
        "betas": [0.9, 0.999],
        "flip": 0.0,
        "adversary": None,
        "probability": None,
        "token_dropout": 0.0,
    },
    "evaluation": {"probability": []},
}
"""Keys that the first weights' recipes didn't have, by section, and what they stood for."""


def recipe_names(kind: RecipeKind = "code") -> list[str]:
    """Names of the shipped recipes of a kind, sorted."""
    return sorted(path.stem for path in _FOLDERS[kind].glob("*.yaml"))


def every_recipe_name() -> list[str]:
    """Names of the shipped recipes of all kinds, kind by kind."""
    return [name for kind in _FOLDERS for name in recipe_names(kind)]


def recipe_kind(name_or_path: str) -> RecipeKind:
    """What a shipped recipe is of, or a file says that it is of.

    Raises:
        VqlinkError: for a file that is no recipe.
    """
    for kind in _FOLDERS:
        if name_or_path in recipe_names(kind):
            return kind
    path = Path(name_or_path)
    return _kind_of(read_tree(path)) if path.is_file() else "code"


def load_recipe(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A shipped recipe by name, or one from a file (anything with a ``/`` or ``.yaml``).

    Recipes for speech are read by :func:`vqlink.config.speech.load_speech_recipe`.

    Args:
        overrides: ``section.key=value`` texts, laid over the recipe in turn; the value is YAML.

    Raises:
        VqlinkError: for an unknown name, a file that can't be read, bases that are missing or go
            in a circle, an unknown key (with the nearest), or a value that doesn't fit.

    >>> load_recipe("jscc-awgn-1-12", ["training.steps=10"]).training.steps
    10
    """
    tree = load_tree(name_or_path, overrides, Recipe)
    kind = _kind_of(tree)
    if kind != "code":
        raise VqlinkError(f"recipe {name_or_path} is {_NOT_A_CODE[kind]}")
    return _fit(Recipe, tree, name_or_path)


def load_as(schema: type[_Model], name_or_path: str | Path, overrides: Sequence[str]) -> _Model:
    """As :func:`load_recipe`, of another schema: a recipe of a prior, say."""
    return _fit(schema, load_tree(name_or_path, overrides, schema), name_or_path)


def _fit(schema: type[_Model], tree: Tree, name: str | Path) -> _Model:
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        raise VqlinkError(f"recipe {name}: {reason_of(error, tree, schema)}") from None


def load_tree(name_or_path: str | Path, overrides: Sequence[str], schema: object) -> Tree:
    """A recipe with overrides laid over it, as plain data that no schema has seen.

    Args:
        schema: a model, or a union of models, whose keys overrides may name.

    Raises:
        VqlinkError: for what can't be read, and overrides of unknown keys.
    """
    tree = read_tree(recipe_path(name_or_path))
    known = set(_paths(schema)) if overrides else set()
    for text in overrides:
        tree = overlay(tree, _override(text, known))
    return tree


def _kind_of(tree: Tree) -> RecipeKind:
    match tree.get("kind"):
        case "prior":
            return "prior"
        case "classifier":
            return "classifier"
        case str(said) if said.startswith("speech"):
            return "speech"
        case _:
            return "code"


def recipe_hash(recipe: BaseModel) -> str:
    """The first 12 hexadecimal digits of the sha256 of the canonical JSON of a recipe of any kind.

    Every field counts, defaults too: equal hashes mean equal experiments. Fields that came after
    the first weights count where they are set, so that older hashes hold.
    """
    plain = recipe.model_dump(mode="json")
    later = _LATER if isinstance(recipe, Recipe) else {}
    for section, keys in later.items():
        for key, default in keys.items():
            if plain[section][key] == default:
                del plain[section][key]
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def recipe_path(name_or_path: str | Path) -> Path:
    """Where the recipe lies.

    Raises:
        VqlinkError: for a name that no shipped recipe has; a file is not looked at yet.
    """
    text = str(name_or_path)
    for kind, folder in _FOLDERS.items():
        if text in recipe_names(kind):
            return folder / f"{text}.yaml"
    if "/" in text or "\\" in text or text.endswith((".yaml", ".yml")):
        return Path(text)
    names = every_recipe_name()
    raise VqlinkError(
        f"unknown recipe {text!r}{_hint(text, names)} (known: {', '.join(names)}; or a .yaml)"
    )


def read_tree(path: Path) -> Tree:
    """A recipe file laid over its bases, as plain data that no schema has seen.

    Raises:
        VqlinkError: for a file that can't be read, is no YAML mapping, or is its own base.
    """
    return _read(path, above=())


def _read(path: Path, above: tuple[Path, ...]) -> Tree:
    here = path.resolve()
    if here in above:
        raise VqlinkError(f"recipe {path}: its bases go in a circle")
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise VqlinkError(f"recipe {path} is too large for one")
        tree = _parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text file"
        raise VqlinkError(f"recipe {path} can't be read: {reason}") from None
    except ValueError as error:
        raise VqlinkError(f"recipe {path} is no YAML: {one_line(error)}") from None
    if not isinstance(tree, dict):
        raise VqlinkError(f"recipe {path} must be a mapping of keys to values")
    base = tree.pop("base", None)
    if base is None:
        return tree
    places = [here.parent / str(base), RECIPES / str(base)]
    found = next((place for place in places if os.path.isfile(place)), None)
    if found is None:
        name = one_line(base)
        raise VqlinkError(f"recipe {path}: its base {name} is neither beside it nor shipped")
    return overlay(_read(found, (*above, here)), tree)


def overlay(base: Tree, changes: Tree) -> Tree:
    """``base`` with ``changes`` laid over it: mappings merge, anything else is replaced.

    A section whose ``kind`` changes is replaced as a whole: the old kind's keys mean nothing there.
    """
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and not _kind_changes(old, value):
            merged[key] = overlay(old, value)
        else:
            merged[key] = value
    return merged


def _kind_changes(old: Tree, new: Tree) -> bool:
    return "kind" in old and "kind" in new and old["kind"] != new["kind"]


def _parse(text: str) -> Any:
    """YAML, of plain types alone and without aliases, which could unfold without end.

    Raises:
        ValueError: for anything that isn't.
    """
    try:
        return yaml.load(text, _PlainLoader)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


class _PlainLoader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) have no place in a recipe")
        return super().compose_node(parent, index)


def _override(text: str, known: set[str]) -> Tree:
    path, equals, value = text.partition("=")
    text = one_line(text)
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise VqlinkError(f"--set {text}: write it as section.key=value, like training.steps=100")
    dotted = ".".join(keys)
    if dotted not in known:
        raise VqlinkError(
            f"--set {text}: unknown key {one_line(dotted)}{_hint(dotted, sorted(known))}"
        )
    try:
        tree = _parse(value)
    except ValueError:
        raise VqlinkError(f"--set {text}: {one_line(value)!r} is no YAML value") from None
    for key in reversed(keys):
        tree = {key: tree}
    return dict(tree)


def reason_of(error: ValidationError, tree: object, schema: object) -> str:
    """The first thing that is wrong with a recipe, as one line: ``path: what``."""
    return one_line(_reason(error, tree, schema))


def _reason(error: ValidationError, tree: object, schema: object) -> str:
    first = error.errors()[0]
    where = _dotted(first["loc"], tree)
    if first["type"] == "extra_forbidden":
        known = set(_paths(schema))
        if where in known:
            return f"{where} does not belong to this section's kind"
        return f"unknown key {where}{_hint(where, sorted(known))}"
    if first["type"] == "missing":
        return f"{where} is missing"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message


def _dotted(loc: tuple[int | str, ...], tree: Any) -> str:
    """pydantic's location without the tags of unions, which no file contains."""
    keys = []
    for position, part in enumerate(loc):
        if isinstance(part, int):
            keys.append(str(part))
        elif isinstance(tree, dict) and (part in tree or position == len(loc) - 1):
            keys.append(part)
            tree = tree.get(part)
    return ".".join(key for key in keys if key != "[key]")


def _hint(text: str, choices: Sequence[str]) -> str:
    """``; did you mean X?``: the same last part elsewhere, or the nearest spelling; else empty."""
    last = text.rpartition(".")[2]
    same = [choice for choice in choices if choice.rpartition(".")[2] == last]
    return f"; did you mean {same[0]}?" if same else did_you_mean(text, choices)


def _paths(annotation: Any) -> Iterator[str]:
    """Every dotted key that the schema knows, of all kinds of each union."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _paths(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _paths(member)
    elif origin is dict and get_origin(get_args(annotation)[0]) is Literal:
        yield from get_args(get_args(annotation)[0])
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield name
            yield from (f"{name}.{rest}" for rest in _paths(field.annotation))
