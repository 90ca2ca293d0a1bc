"""Text at its edges: recipes that ask for nonsense, sentences that fill a frame, misspelt names."""

from __future__ import annotations

import pytest

from vqlink.config.load import load_recipe
from vqlink.errors import VqlinkError


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (["encoder.width=100000", "decoder.width=100000"], "less than or equal to 1024"),
        (["encoder.depth=1000"], "less than or equal to 16"),
        (["source.vocabulary=1000000000"], "less than or equal to 262144"),
        (["training.flip=0.1"], "for index codes"),
        (["link.channel.kind=awgn"], "training.probability is for bec and bsc"),
        (
            ["link.channel.kind=awgn", "training.probability=null", "training.snr_db=[9, 3]"],
            "training.snr_db goes from the lowest",
        ),
        (["training.probability=null"], "training.probability goes from the lowest"),
        (["training.probability=[.nan, 0.5]"], "training.probability goes from the lowest"),
    ],
)
def test_text_recipes_that_cannot_be_trained_are_refused(change: list[str], what: str) -> None:
    with pytest.raises(VqlinkError, match=what):
        load_recipe("text-q16", change)
