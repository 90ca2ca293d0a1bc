"""``vqlink recipes``: experiments as data, to list, read, copy and check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqlink.cli.options import print_json
from vqlink.errors import VqlinkError

if TYPE_CHECKING:
    from vqlink.config.classifier import ClassifierRecipe
    from vqlink.config.prior import PriorRecipe
    from vqlink.config.schema import Recipe
    from vqlink.config.speech import SpeechRecipe

    AnyRecipe = Recipe | SpeechRecipe | PriorRecipe | ClassifierRecipe

app = typer.Typer(
    help="List, show, copy and check recipes.", no_args_is_help=True, rich_markup_mode=None
)
_Json = Annotated[bool, typer.Option("--json", help="print JSON alone")]


@app.command("ls")
def ls_command(as_json: _Json = False) -> None:
    """List the shipped recipes."""
    from vqlink.config.load import every_recipe_name

    loaded = [_load(name) for name in every_recipe_name()]
    if as_json:
        print_json(
            [{"name": r.name, "paper": r.paper, "figure": r.figure, "rho": _rho(r)} for r in loaded]
        )
        return
    width = max(len(recipe.name) for recipe in loaded)
    for recipe in loaded:
        print(f"{recipe.name:{width}}  paper {recipe.paper}, {recipe.figure}")


@app.command("show")
def show_command(name: str, as_json: _Json = False) -> None:
    """Print a recipe in full, bases and defaults filled in."""
    document: dict[str, Any] = _load(name).model_dump(mode="json")
    if as_json:
        print_json(document)
        return
    import yaml

    print(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), end="")


@app.command("cp")
def cp_command(name: str, file: Path) -> None:
    """Copy a recipe to FILE, to be edited and given to `vqlink train FILE`."""
    from vqlink.config.load import read_tree, recipe_path

    if file.suffix != ".yaml":
        raise VqlinkError(f"{file}: a recipe's name ends in .yaml")
    source = recipe_path(name)
    read_tree(source)  # a file whose bases are missing is not worth copying
    try:
        with file.open("x", encoding="utf-8") as copy:
            copy.write(source.read_text(encoding="utf-8"))
    except FileExistsError:
        raise VqlinkError(f"{file} exists already: name another file") from None
    except OSError as error:
        raise VqlinkError(f"cannot copy {source} to {file}: {error.strerror}") from None
    print(f"{file}: edit it, check it with `vqlink recipes validate {file}`")


@app.command("validate")
def validate_command(files: list[str], as_json: _Json = False) -> None:
    """Check recipes; the first mistake ends it with one line."""
    from vqlink.config.load import recipe_hash

    checked = [(name, _load(name)) for name in files]
    if as_json:
        print_json([{"recipe": name, "hash": recipe_hash(recipe)} for name, recipe in checked])
        return
    for name, recipe in checked:
        print(f"{name}: valid ({recipe.name}, hash {recipe_hash(recipe)})")


def _load(name: str) -> AnyRecipe:
    from vqlink.config.classifier import load_classifier_recipe
    from vqlink.config.load import load_recipe, recipe_kind
    from vqlink.config.prior import load_prior_recipe
    from vqlink.config.speech import load_speech_recipe

    match recipe_kind(name):
        case "speech":
            return load_speech_recipe(name)
        case "prior":
            return load_prior_recipe(name)
        case "classifier":
            return load_classifier_recipe(name)
        case "code":
            return load_recipe(name)


def _rho(recipe: AnyRecipe) -> float | None:
    """None for what goes over no channel: a speech codec's bytes, a prior, a classifier."""
    return None if recipe.rho is None else float(recipe.rho)
