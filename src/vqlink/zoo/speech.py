"""The speech weights that ship, and how to load them.

    python -m vqlink.zoo.speech runs/speech-jscc/weights [more folders]

puts trained weights into the zoo: half precision, config, and the figure that they should give on
the synthetic voice.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from pydantic import TypeAdapter

from vqlink.config.speech import SpeechRecipe
from vqlink.config.speech_weights import (
    load_speech_weights,
    read_speech_config,
    save_speech_weights,
)
from vqlink.config.weights import MODEL_NAME, sha256_of
from vqlink.errors import VqlinkError
from vqlink.metrics.audio import perceptual_snr
from vqlink.protocols import Point
from vqlink.rng import stream
from vqlink.systems.speech_codec import SpeechCodec
from vqlink.systems.speech_jscc import SpeechJSCC
from vqlink.zoo.kinds import Kind
from vqlink.zoo.manifest import STRICT, ZOO, find_folder, read_manifest, write_manifest

SPEECH_ZOO = ZOO / "speech"
MANIFEST = SPEECH_ZOO / "manifest.json"
_SNR_DB, _KBPS, _SEED = 10.0, 16.4, 0


@dataclass(frozen=True)
class SpeechEntry:
    """One set of speech weights.

    Attributes:
        psnr_db: perceptually weighted SNR of the synthetic voice of 3 s: a codec's at 16.4 kbit/s,
            a code's at 10 dB in AWGN with seed 0.
    """

    __pydantic_config__ = STRICT
    kind: ClassVar[Kind] = "recordings"

    name: str
    paper: str
    params: int
    sha256: str
    psnr_db: float

    @property
    def folder(self) -> Path:
        return SPEECH_ZOO / self.name

    def document(self) -> dict[str, Any]:
        """As a plain mapping with the keys of every zoo entry."""
        coded = self.name == "speech-codec"
        operating_point = {"kbps": _KBPS} if coded else {"snr_db": _SNR_DB, "seed": _SEED}
        return {
            "name": self.name,
            "recipe": self.name,
            "paper": self.paper,
            "source": "speech",
            "channel": None if coded else "awgn",
            "params": self.params,
            "sha256": self.sha256,
            "expected": operating_point | {"weighted_snr_db": self.psnr_db},
        }


_ENTRIES = TypeAdapter(tuple[SpeechEntry, ...])


@lru_cache(maxsize=1)
def speech_entries() -> tuple[SpeechEntry, ...]:
    """All speech weights in the manifest."""
    return read_manifest(_ENTRIES, MANIFEST)


def load_speech(name_or_folder: str) -> tuple[SpeechCodec | SpeechJSCC, SpeechRecipe, str]:
    """A codec or code by zoo name or weights folder: (system, recipe, sha256 of its weights).

    Raises:
        VqlinkError: for an unknown name, or a zoo file that isn't what the manifest says.
    """
    folder = find_folder(name_or_folder, speech_entries(), "recordings", "speech weights")
    system, recipe = load_speech_weights(folder)
    return system, recipe, sha256_of(folder / MODEL_NAME)


def load_speech_codec(name_or_folder: str = "speech-codec") -> SpeechCodec:
    """A speech codec, ready to ``encode`` and ``decode``.

    Raises:
        VqlinkError: as :func:`load_speech`, and for weights that are no codec's.
    """
    system = load_speech(name_or_folder)[0]
    if not isinstance(system, SpeechCodec):
        raise VqlinkError(f"{name_or_folder} is a joint source-channel code, not a codec")
    return system


def add(folder: Path) -> SpeechEntry:
    """Copy one weights folder into the zoo and its manifest; replaces one of the same name."""
    system, recipe = load_speech_weights(folder)
    module = system.envelope if isinstance(system, SpeechCodec) else system
    target = SPEECH_ZOO / recipe.name
    sha256 = save_speech_weights(target, module, recipe, half=True)
    assert read_speech_config(target) == recipe
    entry = SpeechEntry(
        name=recipe.name,
        paper=recipe.paper,
        params=sum(parameter.numel() for parameter in module.parameters()),
        sha256=sha256,
        psnr_db=measure_expected(target),
    )
    write_manifest(MANIFEST, [asdict(e) for e in (*speech_entries(), entry)])
    speech_entries.cache_clear()
    return entry


def measure_expected(folder: Path) -> float:
    """The manifest's figure, in dB: a real stream, or symbols over simulated noise."""
    from vqlink.sources.voice import synthetic_voice  # late: it takes a second, and scipy

    system, _ = load_speech_weights(folder)
    voice = synthetic_voice()
    if isinstance(system, SpeechCodec):
        received = system.decode(system.encode(voice, _KBPS)).samples
    else:
        noise = stream(_SEED, "expected")
        received = system.transmit(voice[None], Point(snr_db=_SNR_DB), generator=noise).received[0]
    return round(perceptual_snr(received, voice), 3)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        print(add(Path(argument)))
