"""Speech by a joint source-channel code: spectra -> learned gains -> symbols, and back.

    samples -> MDCT, by the message's level -> compander -> [mix] -> quantizer -> link
            -> [unmix] -> expander -> inverse MDCT

The level goes ahead in a header of BPSK symbols, each of its bits many times; it counts as channel
uses, fills the message up to a whole number of packets, and may be misread.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqlink.layers.mdct import frame_count, imdct, mdct
from vqlink.links.mixing import mix, unmix
from vqlink.links.values import ValuesLink, heard_snr
from vqlink.protocols import Point, Quantizer, Transmission
from vqlink.rng import Generators
from vqlink.systems.speech_uses import LATENT_USES, message_uses
from vqlink.units import from_db, to_db

_LEVEL_BITS = 6
_LEVEL_STEP_DB = 1.5
_LOUDEST_DB = 0.0  # RMS of a message's coefficients, that of its samples
_MIXED = 64  # latents that are mixed with each other
_MUTED_DB = -12.0  # SNR after the fade below which the receiver stays silent: an outage
_REACH_DB = (-2.0, 20.0)  # SNRs that the nets are told: those of their training


class SpeechJSCC(nn.Module):
    """A speech transceiver whose modulator is learned.

    Args:
        encoder, decoder: (B, F, HOP) values and (B,) SNR in dB -> (B, F, HOP).
        quantizer: takes latents in pairs (I, Q).
        link: of power ``message``.
        mixing: mix latents in front of a finite alphabet; see :mod:`vqlink.links.mixing`.
        name: what tables and rows call it.
    """

    def __init__(
        self,
        encoder: nn.Module,
        quantizer: nn.Module,
        link: ValuesLink,
        decoder: nn.Module,
        *,
        mixing: bool = False,
        name: str = "speech-jscc",
    ) -> None:
        super().__init__()
        self.encoder, self.quantizer, self.link, self.decoder = encoder, quantizer, link, decoder
        self.mixing, self._name = mixing, name

    @property
    def name(self) -> str:
        return self._name

    def uses(self, samples: int) -> int:
        """Complex channel uses of a recording, header included."""
        return message_uses(samples)

    def forward(self, spectra: Tensor, point: Point, *, generator: Generators) -> Tensor:
        """(B, F, HOP) spectra of unit RMS over each message -> the same as received, for training.

        The header is left out; else all is as in :meth:`transmit`.
        """
        batch = spectra.shape[0]
        snr = point.snr(batch, spectra.device)
        symbols = self._symbols(spectra, snr)
        link = self.link((symbols,), point, generator=generator)
        return self._expand(link.received[0], heard_snr(snr, link), spectra.shape)

    @torch.no_grad()
    def transmit(self, x: Tensor, point: Point, *, generator: Generators) -> Transmission:
        """Recordings (B, n) float32 in [-1, 1], hard-quantised, across the channel and back.

        ``stats``: the link's ``gain_power``, and ``level_misread``, 1 where the header was misread.

        Raises:
            ValueError: for another shape, or values that aren't finite.
        """
        if x.ndim != 2:
            raise ValueError(f"recordings must be (B, n), not {tuple(x.shape)}")
        if not bool(torch.isfinite(x).all()):
            raise ValueError("the recording holds NaN or infinite samples")
        batch, samples = x.shape
        spectra = mdct(x)
        level = _level(spectra)
        snr = point.snr(batch, x.device)
        symbols = self._symbols(spectra / _amplitude(level)[:, None, None], snr)
        header = _write(level, self.uses(samples) - frame_count(samples) * LATENT_USES)
        link = self.link((header, symbols), point, generator=generator)
        heard = heard_snr(snr, link)
        received = self._expand(link.received[1], heard, spectra.shape)
        read = _read(link.received[0])
        muted = heard < _MUTED_DB
        gains = torch.where(muted, 0.0, _amplitude(read))
        sound = imdct(received * gains[:, None, None], samples).clamp(-1, 1)
        return Transmission(
            received=sound,
            uses=torch.full((batch,), link.uses, dtype=torch.int64),
            tx_power=link.tx_power,
            outage=muted,
            stats={**link.stats, "level_misread": (read != level).float()},
        )

    def _symbols(self, spectra: Tensor, snr_db: Tensor) -> Tensor:
        """Spectra -> symbols (B, uses, 2) of about mean power 1."""
        z: Tensor = self.encoder(spectra, snr_db.clamp(*_REACH_DB)).float()
        if self.mixing:
            z = mix(z.reshape(z.shape[0], -1, _MIXED))
        pairs = z.reshape(z.shape[0], -1, 2)
        quantizer: Quantizer = self.quantizer  # type: ignore[assignment]
        (driven,) = self.link.drive((pairs,), quantizer)
        values = quantizer(driven, generator=None).values
        # The header's symbols have power 1: so must these.
        return (
            values * (2 * values.square().mean(dim=(1, 2), keepdim=True)).clamp_min(1e-12).rsqrt()
        )

    def _expand(self, symbols: Tensor, heard_db: Tensor, shape: torch.Size) -> Tensor:
        latents = symbols.reshape(shape)
        if self.mixing:
            latents = unmix(symbols.reshape(shape[0], -1, _MIXED)).reshape(shape)
        # In a deeper fade than the net knows, the noise is turned down to what it knows.
        excess = (_REACH_DB[0] - heard_db).clamp_min(0.0)
        latents = latents * from_db(-excess[:, None, None]).sqrt()
        spectra: Tensor = self.decoder(latents, heard_db.clamp(*_REACH_DB))
        return spectra.float()


def _level(spectra: Tensor) -> Tensor:
    """(B, F, HOP) -> (B,) int64: the RMS in steps of 1.5 dB below full scale."""
    rms = spectra.square().mean(dim=(1, 2)).sqrt().clamp_min(1e-9)
    steps = ((_LOUDEST_DB - 2 * to_db(rms)) / _LEVEL_STEP_DB).round()
    return steps.clamp(0, 2**_LEVEL_BITS - 1).long()


def _amplitude(level: Tensor) -> Tensor:
    return from_db(_LOUDEST_DB - level * _LEVEL_STEP_DB).sqrt()


def _write(level: Tensor, uses: int) -> Tensor:
    """(B,) levels -> (B, uses, 2) BPSK symbols: bit b in every sixth use from b on."""
    places = torch.arange(uses, device=level.device) % _LEVEL_BITS
    bits = (level[:, None] >> places) & 1
    signs = 1 - 2 * bits.float()
    return torch.stack([signs, torch.zeros_like(signs)], dim=-1)


def _read(symbols: Tensor) -> Tensor:
    """(B, uses, 2) received -> (B,) levels, each bit by the sum of its symbols."""
    places = torch.arange(symbols.shape[1], device=symbols.device) % _LEVEL_BITS
    sums = symbols.new_zeros(symbols.shape[0], _LEVEL_BITS).index_add_(1, places, symbols[:, :, 0])
    weights = 1 << torch.arange(_LEVEL_BITS, device=symbols.device)
    return ((sums < 0).long() * weights).sum(dim=1)
