"""Index codes over datagrams, files of the same bytes beside them, and the receiver."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from torch import Tensor

from vqlink.air.header import name_id
from vqlink.config.link_parts import IndexLinkConfig
from vqlink.config.load import recipe_hash
from vqlink.config.weights import read_config
from vqlink.errors import VqlinkError
from vqlink.evaluation.air import weights_id
from vqlink.evaluation.systems import System
from vqlink.packets.assembly import Assembly
from vqlink.packets.header import PictureHeader
from vqlink.packets.layout import Layout
from vqlink.systems.concealment import Concealment
from vqlink.systems.index_code import IndexCode
from vqlink.systems.layered_code import LayeredCode
from vqlink.systems.packet_code import DEFAULT_DATAGRAM, PacketCode
from vqlink.systems.packet_file import parse_packet_file
from vqlink.zoo.catalogue import entries, load_system

DEFAULT_CODE = "vqdeepsc-4"


def open_packet_code(
    name: str,
    *,
    datagram: int = DEFAULT_DATAGRAM,
    interleaved: bool = True,
    concealment: Concealment = "blend",
) -> System:
    """An index code of the zoo, or a weights folder, over datagrams.

    Raises:
        VqlinkError: for an unknown name, a code that sends values, or one without codebooks.
    """
    code, recipe, sha256 = load_system(name)
    if not isinstance(code, IndexCode):
        what = "layers" if isinstance(code, LayeredCode) else "values"
        raise VqlinkError(
            f"{name} sends {what}, which packets of bytes don't carry: take an index code, "
            f"{' or '.join(index_codes())}"
        )
    if not code.codebooks:
        raise VqlinkError(f"{name} has no codebooks: it is an upper bound, nothing to send")
    packets = PacketCode(
        code, weights_id(sha256), datagram=datagram, interleaved=interleaved,
        concealment=concealment,
    )  # fmt: skip
    return System(name, packets, recipe=recipe_hash(recipe), weights=sha256)


def open_packet_systems(names: Sequence[str], *, datagram: int) -> tuple[System, ...]:
    """Open index codes, and files over packets that get as many bytes as the first code's.

    The first code is the first of ``names`` without a ``+``, or else :data:`DEFAULT_CODE`.
    """
    codes = {name: open_packet_code(name, datagram=datagram) for name in names if "+" not in name}
    first = next(iter(codes.values()), None) or open_packet_code(DEFAULT_CODE, datagram=datagram)
    assert isinstance(first.transceiver, PacketCode)
    budget = first.transceiver.plan
    return tuple(
        codes[name] if name in codes else System(name, parse_packet_file(name, budget))
        for name in names
    )


def default_files() -> tuple[str, ...]:
    """Files to compare with where none are named: under RaptorQ if it is installed, and bare."""
    best = "hevc+packets" if find_spec("raptorq") is None else "hevc+raptorq"
    return best, "jpeg+packets"


def index_codes() -> tuple[str, ...]:
    """The zoo's codes that send codeword numbers."""
    return tuple(
        entry.name
        for entry in entries()
        if isinstance(read_config(entry.folder).link, IndexLinkConfig)
    )


class PacketReceiver:
    """One picture from packets of any index code that is known here.

    Args:
        folders: weights folders to know beside the zoo.

    Everything is loaded at once: a datagram that arrives while weights are read may be lost.
    """

    def __init__(self, folders: Sequence[str] = ()) -> None:
        self._codes = [_packet_code(name) for name in (*folders, *index_codes())]
        self._taken: PacketCode | None = None
        self.assembly = Assembly(self._resolve)

    @property
    def name(self) -> str:
        """Of the system of the picture; empty before a packet of one."""
        return self._taken.name if self._taken is not None else ""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture; zeros before a packet of one."""
        header = self.assembly.header
        return (header.height, header.width) if header is not None else (0, 0)

    def picture(self) -> Tensor | None:
        """(3, H, W) in [0, 1] from what has arrived, the rest concealed; None before that."""
        if self._taken is None or self.assembly.header is None:
            return None
        return self._taken.from_maps(self.assembly.maps, self.size)

    def _resolve(self, header: PictureHeader) -> Layout:
        refusal = "a picture by a system that is not known here: name its folder with --system"
        for code in self._codes:
            if name_id(code.name) != header.system:
                continue
            if code.weights == header.weights:
                layout = code.layout_of(header)
                self._taken = code
                return layout
            refusal = (
                f"a picture by {code.name} with weights {header.weights:08x}, here it has "
                f"{code.weights:08x}: name the folder of the sender's with --system"
            )
        raise VqlinkError(refusal)


def _packet_code(name: str) -> PacketCode:
    code = open_packet_code(name).transceiver
    assert isinstance(code, PacketCode)
    return code
