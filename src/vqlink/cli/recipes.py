"""Being written."""

import typer

app = typer.Typer()


@app.command("ls")
def ls() -> None: ...
