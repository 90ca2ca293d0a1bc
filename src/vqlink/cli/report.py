"""Being written."""


def report_command() -> None: ...
