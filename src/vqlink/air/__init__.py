"""The radio: frames of complex symbols as recordings of baseband samples, and back.

    symbols + header -> frame (preamble, pilots or OFDM) -> pulses -> SigMF file
    SigMF file -> detection -> timing, frequency -> chips -> channel, noise -> header + symbols

A *chip* is one complex channel use as it leaves the pulse shaper; docs/air.md specifies the frame.
"""
