"""Several values after one option: ``--snr 0 5 10`` for ``--snr 0 --snr 5 --snr 10``.

The parser underneath takes one value an option; this writes the long form for it.
"""

from __future__ import annotations

_SPREAD = {
    "send": {"--system", "--against"},
    "evaluate": {"--snr", "--metric"},
    "train": {"--set"},
}


def spread(arguments: list[str]) -> list[str]:
    """Repeat each option of several values in front of each of its values.

    Where nothing else can be ``send``'s INPUT, the last value of a list is.

    >>> spread(["evaluate", "a", "--snr", "0", "-5", "--data", "x"])
    ['evaluate', 'a', '--snr=0', '--snr=-5', '--data', 'x']
    """
    verb = next((word for word in arguments if not word.startswith("-")), "")
    options = _SPREAD.get(verb, set())
    result: list[str] = []
    spare = -1  # where the last value of the last list stands: perhaps no value, but the INPUT
    at = 0
    while at < len(arguments):
        word = arguments[at]
        at += 1
        if word not in options:
            result.append(word)
            continue
        values = []
        while at < len(arguments) and _is_value(word, arguments[at]):
            values.append(arguments[at])
            at += 1
        result += [f"{word}={value}" for value in values] or [word]
        if len(values) > 1:
            spare = len(result) - 1
    if verb == "send" and spare >= 0 and not _has_input(result):
        result[spare] = result[spare].partition("=")[2]
    return result


def _is_value(option: str, word: str) -> bool:
    if option == "--snr":
        return word.replace(",", "").lstrip("+-").replace(".", "", 1)[:1].isdigit() or word in (
            "nan", "inf", "-inf",
        )  # fmt: skip
    if option == "--set":
        return "=" in word and not word.startswith("--")
    return not word.startswith("--")


def _has_input(words: list[str]) -> bool:
    """Whether a positional word follows the verb: one that is no option and no option's value."""
    after_option = False
    for word in words[1:]:
        if not word.startswith("-") and not after_option:
            return True
        after_option = word.startswith("--") and "=" not in word and word != "--json"
    return False
