"""Being written."""


def train_command() -> None: ...
