"""Physics only: channels add noise, fade, flip or lose; they never measure or scale a signal.

| channel | equation | point |
|---|---|---|
| AWGN | y = x + n | snr_db |
| Rayleigh | y = h x + n, h ~ CN(0, 1) | snr_db |
| Rician | y = h x + n, h = sqrt(K/(K+1)) + sqrt(1/(K+1)) CN(0, 1) | snr_db |
| BEC | y = m x, bits, P(m = 0) = p | probability |
| BSC | y = x xor e, bits, P(e = 1) = p | probability |
| PacketErasure | y = m x, one m a packet of symbols, P(m = 0) = p | probability |
"""

from vqlink.channels.awgn import AWGN
from vqlink.channels.bits import BEC, BSC
from vqlink.channels.fading import Fading, Rayleigh, Rician
from vqlink.channels.packet import PacketErasure
from vqlink.channels.symbol import PointKind, SymbolChannel

__all__ = [
    "AWGN",
    "BEC",
    "BSC",
    "Fading",
    "PacketErasure",
    "PointKind",
    "Rayleigh",
    "Rician",
    "SymbolChannel",
]
