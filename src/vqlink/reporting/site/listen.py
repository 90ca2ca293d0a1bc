"""The sample voice through the speech codes that ship, so that a report has something to hear."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from vqlink.evaluation.send_speech import default_speech_systems, open_speech_systems, send_speech
from vqlink.evaluation.systems import open_channel
from vqlink.reporting.site import markup
from vqlink.reporting.site.pages import Files, Page
from vqlink.sources.audio import write_audio
from vqlink.sources.voice import synthetic_voice

SNR_DB = (4.0, 10.0, 16.0)
_SEED = 0


def listen_page(folder: Path, files: Files) -> Page:
    """Send the synthetic voice over AWGN by each system and SNR; write what arrived to ``folder``.

    It is sent anew, with the command that does the same beside it: these are no recordings of
    what the rows of the report were measured on.
    """
    folder.mkdir()
    voice = synthetic_voice()
    config, channel = open_channel("awgn")
    systems = open_speech_systems(default_speech_systems(), config)
    body = [
        "<h1>To hear</h1>",
        '<p class="lead">A synthetic voice, sent now by the speech codes that ship and by the '
        "codec over LDPC and QAM, at the same channel uses. The rows were measured on others.</p>",
        f'<div class="sounds">{_player(folder / "sent.wav", voice, "sent", files)}</div>',
    ]
    for snr_db in SNR_DB:
        arrivals = send_speech(voice, systems, channel=channel, snr_db=snr_db, seed=_SEED)
        body.append(f"<h2>{channel.upper()}, {snr_db:g} dB</h2>")
        players = []
        for number, arrival in enumerate(arrivals):
            figures = ", ".join(f"{name} {value:.2f}" for name, value in arrival.metrics.items())
            caption = f"{arrival.system}: {figures}; {arrival.shown_status}"
            path = folder / f"{snr_db:g}-db-{number}.wav"
            players.append(_player(path, arrival.received, caption, files))
        body.append(f'<div class="sounds">{"".join(players)}</div>')
        body.append(f"<p>{markup.made_by(_command(snr_db))} One draw of the noise: no spread.</p>")
    return Page(files.slug("listen"), "To hear", "", "To hear", "\n".join(body))


def _command(snr_db: float) -> str:
    return f"vqlink send sample:voice --snr {snr_db:g} --seed {_SEED}"


def _player(path: Path, samples: Tensor, caption: str, files: Files) -> str:
    write_audio(samples, path)
    return markup.player(files.add(path), caption)
