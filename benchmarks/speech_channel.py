"""Speech over the channel: the code and the codec's link on recordings, at the same channel uses.

    python benchmarks/speech_channel.py data/speech/test --out results/speech-channel.jsonl

Prints the means of the rows in --out; cells that are there already are not run again.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from pathlib import Path

import torch

from vqlink.evaluation.rows import append_rows, read_rows
from vqlink.evaluation.send_speech import default_speech_systems, open_speech_systems, send_speech
from vqlink.evaluation.systems import open_channel
from vqlink.metrics.audio import check_pesq
from vqlink.sources.audio import find_recordings, read_audio

CHANNELS, SNR_DB = ("awgn", "rayleigh"), (0.0, 2.0, 4.0, 10.0, 16.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=4)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    check_pesq()
    rows = read_rows(arguments.out) if arguments.out.exists() else []
    done = {(row.channel, row.point["snr_db"], row.sample, row.system) for row in rows}
    names = default_speech_systems()
    recordings = find_recordings(arguments.folder)[: arguments.count]
    for channel, snr_db, path in itertools.product(CHANNELS, SNR_DB, recordings):
        missing = [name for name in names if (channel, snr_db, path.stem, name) not in done]
        if not missing:
            continue
        systems = open_speech_systems(missing, open_channel(channel)[0])
        samples = read_audio(path).samples
        arrivals = send_speech(
            samples, systems, channel=channel, snr_db=snr_db, seed=0, sample=path.stem
        )
        append_rows(arguments.out, [row for arrival in arrivals for row in arrival.rows])
    rows = read_rows(arguments.out)
    metrics = list(dict.fromkeys(row.metric for row in rows))
    print("| channel | SNR | system |", " | ".join(metrics), "| outages |")
    print("|---|---|---|" + "---|" * (len(metrics) + 1))
    for channel, snr_db, name in itertools.product(CHANNELS, SNR_DB, names):
        found = [
            row
            for row in rows
            if (row.channel, row.point["snr_db"], row.system) == (channel, snr_db, name)
        ]
        if not found:
            continue
        means = [statistics.fmean(r.value for r in found if r.metric == m) for m in metrics]
        lost = sum(row.status == "outage" for row in found) // len(metrics)
        cells = " | ".join(f"{mean:.2f}" for mean in means)
        print(f"| {channel} | {snr_db:g} dB | {name} | {cells} | {lost} |")


if __name__ == "__main__":
    main()
