"""What the jobs do: the steps of a picture, a recording and a text, and of their curves.

Every step is one hard message over the simulated channel, decoded from what arrived.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction

from PIL import Image
from torch import Tensor

from vqlink.config.channels import parse_channel
from vqlink.demo.engine import Event
from vqlink.demo.requests import PictureRequest, RecordingRequest, TextRequest
from vqlink.demo.systems import (
    designed_for,
    picture_systems,
    speech_designed_for,
    speech_systems,
    text_systems,
)
from vqlink.demo.uploads import Upload
from vqlink.errors import VqlinkError
from vqlink.evaluation.rows import Row, to_line
from vqlink.evaluation.send import SWEEP_SNR_DB, Arrival, send, sweep, sweep_picture
from vqlink.evaluation.send_speech import send_speech
from vqlink.evaluation.systems import System
from vqlink.evaluation.text import TextArrival, TextSystem, frames, send_text
from vqlink.protocols import Point
from vqlink.reporting.pictures import to_pillow
from vqlink.reporting.spectrograms import spectrogram_image
from vqlink.sources.audio import encode_wav
from vqlink.sources.text import split_sentences

SWEEP_PROBABILITIES = tuple(round(0.1 * step, 1) for step in range(10))
_DRAWS = 6  # of the channel for each point of a text's curve
_SENTENCES = 24


def picture_steps(request: PictureRequest, upload: Upload) -> Iterator[Event]:
    """One arrival for each code and for the digital link designed for ``designed_db``."""
    for place, (role, system) in enumerate(_picture_roles(request, upload.message)):
        yield Event("working", {"on": system.name})
        (arrival,) = send(
            upload.message,
            [system],
            channel=request.channel,
            snr_db=request.snr_db,
            seed=request.seed,
        )
        name = f"{place}.png"
        files = {name: ("image/png", to_png(arrival.received))}
        data = {**_arrival(arrival, role), "picture": name}
        yield Event("arrival", data, files, _lines(arrival.rows))


def picture_curve(request: PictureRequest, upload: Upload) -> Iterator[Event]:
    """PSNR over the SNR of the picture's centre, a point a step; with the best MCS at each, too."""
    part, note = sweep_picture(upload.message)
    yield Event("about", {"on": note, "unit": "PSNR in dB", "axis": "SNR in dB"})
    _, link = picture_systems(request.channel, Fraction(request.rho))
    roles = [*_picture_roles(request, part), ("best", link)]
    for snr_db in reversed(SWEEP_SNR_DB):
        for role, system in roles:
            (row,) = sweep(
                part,
                [(role, system)],
                channel=request.channel,
                seed=request.seed,
                points=[snr_db],
            )
            yield _point(row.system, role, snr_db, row.value, row.status == "outage", [row])


def _picture_roles(request: PictureRequest, image: Tensor) -> list[tuple[str, System]]:
    codes, link = picture_systems(request.channel, Fraction(request.rho))
    fixed = designed_for(link, request.designed_db, image)
    return [*(("learned", code) for code in codes), ("fixed", fixed)]


def recording_steps(request: RecordingRequest, upload: Upload) -> Iterator[Event]:
    """One arrival for each code and for the digital link, to hear and to see."""
    drawn, loudest = spectrogram_image(upload.message)
    yield Event("sent", {"picture": "sent.png"}, {"sent.png": ("image/png", _png(drawn))})
    codes, link = speech_systems(request.channel)
    fixed = speech_designed_for(link, request.designed_db)
    roles = [*(("learned", code) for code in codes), ("fixed", fixed)]
    for place, (role, system) in enumerate(roles):
        yield Event("working", {"on": system.name})
        (arrival,) = send_speech(
            upload.message,
            [system],
            channel=request.channel,
            snr_db=request.snr_db,
            seed=request.seed,
        )
        drawn, _ = spectrogram_image(arrival.received, loudest)
        files = {
            f"{place}.wav": ("audio/wav", encode_wav(arrival.received)),
            f"{place}.png": ("image/png", _png(drawn)),
        }
        data = {**_arrival(arrival, role), "sound": f"{place}.wav", "picture": f"{place}.png"}
        yield Event("arrival", data, files, _lines(arrival.rows))


def text_steps(request: TextRequest) -> Iterator[Event]:
    """What each receiver reads."""
    systems = text_systems(request.channel)
    sentences = _sentences(request, systems)
    yield Event("about", {"sentences": sentences})
    for system in systems:
        yield Event("working", {"on": system.name})
        arrival = _send(sentences, system, request, request.probability)
        sent = arrival.sent
        data = {
            "system": arrival.system,
            "role": "fixed" if "+" in arrival.system else "learned",
            "read": list(sent.received),
            "outages": [bool(lost) for lost in sent.outage],
            "metrics": {name: float(value.mean()) for name, value in arrival.metrics.items()},
            "uses": int(sent.uses.sum()),
            "status": "outage" if bool(sent.outage.all()) else "ok",
            "seconds": round(arrival.seconds, 3),
        }
        yield Event("arrival", data, rows=_lines(arrival.rows))


def text_curve(request: TextRequest) -> Iterator[Event]:
    """Share of words that are right over the channel's probability, a point a step."""
    systems = text_systems(request.channel)
    sentences = _sentences(request, systems)[:1]
    axis = "share of bits erased" if request.channel == "bec" else "share of bits flipped"
    yield Event("about", {"on": "the first sentence", "unit": "tokens right", "axis": axis})
    for probability in SWEEP_PROBABILITIES:
        for system in systems:
            arrival = _send(sentences * _DRAWS, system, request, probability, ("token_accuracy",))
            role = "fixed" if "+" in arrival.system else "learned"
            value = float(arrival.metrics["token_accuracy"].mean())
            lost = bool(arrival.sent.outage.any())
            yield _point(arrival.system, role, probability, value, lost, arrival.rows)


def to_png(image: Tensor) -> bytes:
    """A picture (3, H, W) in [0, 1] as a PNG file's bytes."""
    return _png(to_pillow(image))


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _send(
    sentences: list[str],
    system: TextSystem,
    request: TextRequest,
    probability: float,
    metrics: tuple[str, ...] | None = None,
) -> TextArrival:
    (arrival,) = send_text(
        sentences,
        [system],
        channel=parse_channel(request.channel),
        point=Point(probability=probability),
        seed=request.seed,
        metrics=metrics,
    )
    return arrival


def _sentences(request: TextRequest, systems: tuple[TextSystem, ...]) -> list[str]:
    sentences = frames(systems, split_sentences(request.text))
    if not sentences:
        raise VqlinkError("there is nothing to send: type a sentence")
    if len(sentences) > _SENTENCES:
        raise VqlinkError(f"{len(sentences)} sentences: the page takes at most {_SENTENCES}")
    return sentences


def _arrival(arrival: Arrival, role: str) -> dict[str, object]:
    return {
        "system": arrival.system,
        "role": role,
        "metrics": dict(arrival.metrics),
        "uses": arrival.uses,
        "rho": arrival.rho,
        "power": arrival.tx_power,
        "status": arrival.status,
        "shown_status": arrival.shown_status,
        "labels": dict(arrival.labels),
        "seconds": round(arrival.seconds, 3),
    }


def _point(
    system: str, role: str, at: float, value: float, outage: bool, rows: Iterable[Row]
) -> Event:
    data = {"system": system, "role": role, "at": at, "value": value, "outage": outage}
    return Event("point", data, rows=_lines(rows))


def _lines(rows: Iterable[Row]) -> tuple[str, ...]:
    return tuple(to_line(row) for row in rows)
