"""The experiments that ``vqlink reproduce`` knows, by name."""

from __future__ import annotations

from importlib import import_module

from vqlink.errors import VqlinkError, did_you_mean
from vqlink.experiments.reproduction import Experiment

_MODULES = {
    "deepjsccq-fig5": ("deepjsccq:fig5", "001, Fig. 5-6: codes for one SNR, beside HEVC + LDPC"),
    "deepjsccq-fig6": ("deepjsccq:fig5", "001, Fig. 6: MS-SSIM, in the table of Fig. 5"),
    "deepjsccq-fig7": ("deepjsccq:fig7", "001, Fig. 7: orders of QAM against no quantization"),
    "deepjsccq-fig8": ("deepjsccq:fig8", "001, Fig. 8: learned constellations against QAM, AWGN"),
    "deepjsccq-fig9": (
        "deepjsccq:fig9",
        "001, Fig. 9: the same in slow fading, beside HEVC",
    ),
    "deepjsccq-fig10": ("deepjsccq:fig10", "001, Fig. 10-11: how often each point is sent"),
    "deepjsccq-fig11": ("deepjsccq:fig10", "001, Fig. 11: the same in fading, with Fig. 10"),
    "deepjsccq-fig12": ("deepjsccq:fig12", "001, Fig. 12: quality over the bandwidth ratio"),
    "vqvae-awgn-fig2": ("softvq:fig2", "000, Fig. 2: soft and attentive, trained without noise"),
    "vqvae-awgn-fig4": ("softvq:fig4", "000, Fig. 4: the same trained at sigma 0.05, with options"),
    "vqvae-awgn-fig5": ("softvq:fig5", "000, Fig. 5: the same trained on random noise"),
    "text-bec-fig3": ("text_bec", "000, Fig. 3: sentences over erasures, beside Huffman links"),
    "vqdeepsc-fig3": ("vqdeepsc_fig3", "004, Fig. 3: SSIM over SNR in three channels"),
    "hrvqvae-table1": ("hrvqvae:table1", "003, Table 1: reconstruction on CIFAR-10, with rivals"),
    "hrvqvae-table2": ("hrvqvae_table2", "003, Table 2: time to encode, search and decode"),
    "hrvqvae-table3": ("hrvqvae_table3", "003, Table 3: pictures that priors make up"),
    "hrvqvae-fig5": ("hrvqvae:fig5", "003, Fig. 5: depth 1 to 6 at 64 final codewords"),
    "hrvqvae-fig6": ("hrvqvae:fig6", "003, Fig. 6: growing codebooks, and who collapses"),
    "hrvqvae-fig8": ("hrvqvae_fig8", "003, Fig. 8: what each layer carries"),
    "hrvqvae-streams": ("hrvqvae_streams", "003's layers as streams: unequal protection"),
    "air": ("air", "PSNR over the simulated air beside the ideal link (in no paper)"),
    "packet-loss": ("packet_loss", "index codes and files in lossy UDP packets (in no paper)"),
    "nsvq-fig1": ("nsvq_fig1", "002, Fig. 1: NSVQ against STE in a speech codec, beside Opus"),
    "nsvq-table1": ("nsvq_table1", "002, Table 1: NSVQ against STE and EMA in a VQ-VAE, CIFAR-10"),
    "nsvq-table2": ("nsvq_table2", "002, Table 2: codebooks of two-dimensional toy data"),
}


def entries() -> dict[str, str]:
    """Name -> what it shows."""
    return {name: title for name, (_, title) in _MODULES.items()}


def find(name: str) -> Experiment:
    """The experiment of that name.

    Raises:
        VqlinkError: for an unknown name, with the nearest one.
    """
    if name not in _MODULES:
        hint = did_you_mean(name, _MODULES)
        raise VqlinkError(f"unknown experiment {name!r}{hint} (`vqlink reproduce` lists them)")
    module, _, function = _MODULES[name][0].partition(":")
    found = import_module(f"vqlink.experiments.{module}")
    experiment: Experiment = getattr(found, function or "reproduce")
    return experiment
