"""The command line: one verb, one library function behind it.

A user's mistake ends in one line on standard error and exit status 2, never in a traceback.
Everything heavy is imported inside the verbs, so that help answers at once.
"""

from __future__ import annotations

import io
import sys

import typer

from vqlink.cli import (
    channel,
    demo,
    evaluate,
    export,
    push,
    recipes,
    report,
    reproduce,
    rx,
    sample,
    send,
    train,
    tx,
    zoo,
)
from vqlink.cli.arguments import spread
from vqlink.cli.options import INTERRUPTED, keep_arguments
from vqlink.errors import VqlinkError

# Typer carries its own copy of click and exports one of its usage errors.
_UsageError: type[typer.BadParameter] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="vqlink",
    help="Send images, text and speech over noisy channels, by learned codes and digital links.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("send")(send.send_command)
app.command("demo")(demo.demo_command)
app.command("evaluate")(evaluate.evaluate_command)
app.add_typer(zoo.app, name="zoo")
app.add_typer(recipes.app, name="recipes")
app.command("sample")(sample.sample_command)
app.command("train")(train.train_command)
app.command("reproduce")(reproduce.reproduce_command)
app.command("report")(report.report_command)
app.command("tx")(tx.tx_command)
app.command("channel")(channel.channel_command)
app.command("rx")(rx.rx_command)
app.command("export")(export.export_command)
app.command("push")(push.push_command)


def main() -> None:
    """Entry point of ``vqlink``; see the module for its exit statuses."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name need not be UTF-8
        sys.stdout.reconfigure(errors="backslashreplace")
    keep_arguments(arguments)
    try:
        status = app(args=spread(arguments), prog_name="vqlink", standalone_mode=False)
    except _UsageError as mistake:
        message = mistake.format_message()
        if message.startswith("Usage:"):  # no verb was given: the help, as it is laid out
            print(message)
            return 0
        return _fail(message)
    except (typer.Abort, KeyboardInterrupt):
        print("vqlink: interrupted", file=sys.stderr)
        return INTERRUPTED
    except VqlinkError as mistake:
        return _fail(str(mistake))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}")
    except UnicodeEncodeError as error:
        return _fail(f"{error.object!r} holds what is no text in {error.encoding}: rename it")
    return status if isinstance(status, int) else 0


def _fail(message: str) -> int:
    print(f"vqlink: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
