"""Pictures as datagrams: what is in each, which parts of the picture, and how they travel.

index maps -> layout -> payload bytes -> header + CRC-32 -> UDP -> checks -> index maps with gaps
"""
