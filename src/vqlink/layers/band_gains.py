"""A net that looks at the powers of a spectrum and gives every coefficient a gain.

    log powers -> bands, told the SNR -> convolutions over time -> gain of each band,
               -> and how far a coefficient's gain follows its own power within the band

Signs never enter, so a few minutes of speech train it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_BAND = 8  # coefficients
_SNR_SCALE = 10.0
_FLOOR = 1e-5
_LIMIT = 6.0  # of log gains, in nepers


class BandGains(nn.Module):
    """(B, F, C) values and (B,) SNR in dB -> positive gains (B, F, C).

    Args:
        coefficients: C, a multiple of 8.
        hidden: width.
        reach: frames that a convolution sees to either side.
    """

    def __init__(self, coefficients: int, *, hidden: int = 128, reach: int = 2) -> None:
        super().__init__()
        if coefficients % _BAND:
            raise ValueError(f"coefficients come in bands of {_BAND}, not {coefficients}")
        bands = coefficients // _BAND
        size = 2 * reach + 1
        self.first = nn.Conv1d(bands + 1, hidden, size, padding=reach)
        self.middle = nn.ModuleList(
            nn.Conv1d(hidden, hidden, size, padding=reach) for _ in range(2)
        )
        self.last = nn.Conv1d(hidden, 2 * bands, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, values: Tensor, snr_db: Tensor) -> Tensor:
        """Gains for values of about unit power."""
        power = values.square()
        bands = power.unflatten(-1, (-1, _BAND)).mean(dim=-1)  # type: ignore[no-untyped-call]
        features = 0.5 * torch.log(bands + _FLOOR)
        told = (snr_db / _SNR_SCALE)[:, None, None].expand(-1, features.shape[1], 1)
        x = functional.gelu(self.first(torch.cat([features, told], dim=-1).transpose(1, 2)))
        for layer in self.middle:
            x = x + functional.gelu(layer(x))
        gain, follow = self.last(x).transpose(1, 2).chunk(2, dim=-1)
        near = functional.avg_pool1d(power, 3, 1, 1, count_include_pad=False)
        local = 0.5 * torch.log(near + _FLOOR) - features.repeat_interleave(_BAND, dim=-1)
        log_gain = _spread(gain) + _spread(follow) * torch.tanh(local)
        return torch.exp(log_gain.clamp(-_LIMIT, _LIMIT))


def _spread(bands: Tensor) -> Tensor:
    """(B, F, bands) -> (B, F, bands * 8), linear between the bands' centres."""
    spread: Tensor = functional.interpolate(bands, scale_factor=float(_BAND), mode="linear")
    return spread
