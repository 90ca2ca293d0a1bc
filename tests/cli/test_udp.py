"""tx and rx over UDP, in two processes, and send over packets; every mistake is one line."""

from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from tests.conftest import smooth_picture
from vqlink.cli.main import run
from vqlink.evaluation.packets import open_packet_code
from vqlink.protocols import Point
from vqlink.rng import stream
from vqlink.sources.images import read_image, to_bytes8, write_image
from vqlink.systems.packet_code import PacketCode, arrivals

SYSTEM = "vqdeepsc-3"


@pytest.fixture(scope="module", name="photo")
def fixture_photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    write_image(smooth_picture(160, 192), path)
    return path


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    status = run([str(word) for word in words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def start_rx(out: Path, *words: str) -> tuple[subprocess.Popen[str], str]:
    """A receiver in a process of its own, and where it listens."""
    command = [sys.executable, "-m", "vqlink.cli.main", "rx", "--udp", "127.0.0.1:0", "-o", out]
    process = subprocess.Popen(
        [*map(str, command), *words], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ,
    )  # fmt: skip
    assert process.stderr is not None
    said = process.stderr.readline()
    assert said.startswith("listening at 127.0.0.1:"), said
    return process, said.split()[-1]


def packet_code(datagram: int) -> PacketCode:
    system = open_packet_code(SYSTEM, datagram=datagram).transceiver
    assert isinstance(system, PacketCode)
    return system


def test_two_processes_with_losses(tmp_path: Path, photo: Path) -> None:
    """What arrives is, pixel for pixel, what the library makes of the same losses."""
    out = tmp_path / "p.png"
    rx, place = start_rx(out, "--json", "--silence", "0.5")
    command = [sys.executable, "-m", "vqlink.cli.main", "tx", str(photo), "--system", SYSTEM]
    tx = subprocess.run(
        [*command, "--udp", place, "--loss", "0.2", "--seed", "3", "--datagram", "150", "--json"],
        text=True, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    text, errors = rx.communicate(timeout=60)
    assert (tx.returncode, rx.returncode) == (0, 0), tx.stderr + errors
    sent, got = json.loads(tx.stdout), json.loads(text)
    assert sent["dropped"] > 0
    assert got["received"] == sent["packets"] - sent["dropped"]
    assert (got["packets"], got["size"]) == (sent["packets"], [192, 160])
    code, image = packet_code(150), read_image(photo)
    kept = arrivals(sent["packets"], Point(probability=0.2), stream(3, "udp"))
    assembly = code.assembly()
    for one, here in zip(code.to_datagrams(image), kept, strict=True):
        if here:
            assembly.add(one)
    assert got["lost"] == pytest.approx(assembly.lost)
    expected = code.from_maps(assembly.maps, (160, 192))
    assert torch.equal(to_bytes8(read_image(out)), to_bytes8(expected))


def test_reordered_duplicated_damaged_and_foreign(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything at once, in this process: the picture is whole, and the counts are right."""
    from vqlink.packets import udp

    code, image = packet_code(200), read_image(photo)
    good = code.to_datagrams(image)
    foreign = code.to_datagrams(smooth_picture(64, 64, seed=5))
    rest = [*good[1:], *good[2:9], *foreign, b"", b"x" * 1400, good[3][:-1]]
    random.Random(0).shuffle(rest)
    # The whole ones first would end it: the last good one is kept for the end.
    rest = [one for one in rest if one != good[-1]]
    real = udp.listen

    def listen(address: udp.Address) -> socket.socket:
        bound = real(address)

        def send() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for one in (good[0], *rest, good[-1]):
                    sender.sendto(one, bound.getsockname())

        threading.Thread(target=send).start()
        return bound

    monkeypatch.setattr(udp, "listen", listen)
    out = tmp_path / "p.png"
    status, text, errors = call(capsys, "rx", "--udp", "127.0.0.1:0", "-o", out, "--json")
    assert status == 0, errors
    got = json.loads(text)
    assert (got["received"], got["duplicate"], got["corrupt"], got["foreign"], got["lost"]) == (
        len(good), 7, 3, len(foreign), 0,
    )  # fmt: skip
    plain = code.code.decode(code.code.encode(image[None]), (160, 192))[0]
    assert torch.equal(to_bytes8(read_image(out)), to_bytes8(plain))


def test_a_receiver_without_a_sender(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "p.png"
    words = ("rx", "--udp", "127.0.0.1:0", "-o", out, "--timeout", "0.05")
    status, text, errors = call(capsys, *words)
    listening, complaint = errors.splitlines()
    assert (status, text) == (2, "")
    assert listening.startswith("listening at")
    assert "no packet of a picture came" in complaint
    assert not out.exists()
    told = " ".join(call(capsys, "rx", "--help")[1].split())
    assert "2 for none within --timeout" in told


def test_a_port_in_use_and_one_where_nothing_listens(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, photo: Path
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{other.getsockname()[1]}"
        status, _, error = call(capsys, "rx", "--udp", place, "-o", tmp_path / "p.png")
        assert (status, error.count("\n")) == (2, 1)
        assert "in use" in error
    status, _, error = call(capsys, "tx", photo, "--udp", place)
    assert (status, error.count("\n")) == (2, 1)
    assert "nothing listens" in error


BAD = {
    "tx neither": ("tx {photo}", "--udp"),
    "tx both": ("tx {photo} -o {tmp}/a.sigmf-data --udp 127.0.0.1:5", "either"),
    "tx rho": ("tx {photo} --udp 127.0.0.1:5 --rho 1/6", "--rho"),
    "tx loss of a file": ("tx {photo} -o {tmp}/a.sigmf-data --loss 0.1", "vqlink channel"),
    "tx address": ("tx {photo} --udp 127.0.0.1", "HOST:PORT"),
    "tx port 0": ("tx {photo} --udp 127.0.0.1:0", "port 0"),
    "tx host": ("tx {photo} --udp nobody.invalid:5", "nobody.invalid"),
    "tx values": ("tx {photo} --udp 127.0.0.1:5 --system jscc-awgn-1-12", "sends values"),
    "tx link": ("tx {photo} --udp 127.0.0.1:5 --system hevc+ldpc5g", "hevc+ldpc5g"),
    "tx loss": ("tx {photo} --udp 127.0.0.1:5 --loss 1.5", "--loss"),
    "tx loss nan": ("tx {photo} --udp 127.0.0.1:5 --loss nan", "--loss"),
    "tx mbit": ("tx {photo} --udp 127.0.0.1:5 --mbit 0", "--mbit"),
    "tx datagram": ("tx {photo} --udp 127.0.0.1:5 --datagram 10", "64 to 65507"),
    "tx no picture": ("tx {tmp}/none.png --udp 127.0.0.1:5", "none.png"),
    "rx neither": ("rx -o {tmp}/p.png", "--udp"),
    "rx both": ("rx {photo} --udp 127.0.0.1:5 -o {tmp}/p.png", "either"),
    "rx address": ("rx --udp here -o {tmp}/p.png", "HOST:PORT"),
    "rx not ours": ("rx --udp 192.0.2.1:5005 -o {tmp}/p.png", "cannot listen"),
    "rx jpg": ("rx --udp 127.0.0.1:0 -o {tmp}/p.jpg", ".png"),
    "rx folder": ("rx --udp 127.0.0.1:0 -o {tmp}/none/p.png", "no folder"),
    "rx timeout": ("rx --udp 127.0.0.1:0 -o {tmp}/p.png --timeout -1", "--timeout"),
    "rx silence": ("rx --udp 127.0.0.1:0 -o {tmp}/p.png --silence nan", "--silence"),
    "rx system": ("rx --udp 127.0.0.1:0 -o {tmp}/p.png --system {tmp}", "config.json"),
    "send no rate": ("send {photo} --channel packet", "--erasure"),
    "send rate": ("send {photo} --channel packet --erasure 2", "--erasure"),
    "send size": ("send {photo} --channel packet:10 --erasure 0.1", "64 to 65507"),
    "send rho": ("send {photo} --channel packet --erasure 0.1 --rho 1/12", "--rho"),
    "send values": (
        "send {photo} --channel packet --erasure 0.1 --system jscc-awgn-1-12", "sends values",
    ),
    "send link": ("send {photo} --channel packet --erasure 0.1 --against hevc+ldpc5g", "hevc+"),
    "send erasure": ("send {photo} --channel awgn --erasure 0.1", "--erasure"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, photo: Path, name: str
) -> None:
    words, hint = BAD[name]
    places = {"tmp": tmp_path, "photo": photo}
    status, _, error = call(capsys, *(word.format(**places) for word in words.split()))
    assert (status, error.count("\n")) == (2, 1), error
    assert hint in error


def test_send_over_packets(capsys: pytest.CaptureFixture[str], tmp_path: Path, photo: Path) -> None:
    words = ("send", photo, "--system", SYSTEM, "--channel", "packet:150", "--erasure", 0.1)
    words = (*words, "--against", "jpeg+raptorq", "--out", tmp_path)
    status, text, errors = call(capsys, *words, "--json")
    assert status == 0, errors
    learned, file = json.loads(text)["rows"]
    assert (learned["system"], file["system"]) == (SYSTEM, "jpeg+raptorq")
    assert learned["point"] == {"probability": 0.1}
    assert learned["channel"] == "packet:150"
    assert learned["labels"]["packets_lost"] == file["labels"]["packets_lost"]
    assert 0 <= file["uses"] - learned["uses"] <= 0.02 * learned["uses"]
    for name in (f"{SYSTEM}.png", "jpeg_raptorq.png", "sent.png", "rows.jsonl", "side-by-side.png"):
        assert (tmp_path / name).exists()
    assert call(capsys, *words)[0] == 0


def test_without_raptorq(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "raptorq", None)
    monkeypatch.setattr("vqlink.evaluation.packets.find_spec", lambda name: None)
    words = ("send", photo, "--system", SYSTEM, "--channel", "packet", "--erasure", 0)
    status, text, errors = call(capsys, *words, "--out", tmp_path)
    assert status == 0, errors
    assert "hevc+packets" in text
    assert "pip install 'vqlink[packets]'" in text
    status, _, error = call(capsys, *words, "--out", tmp_path, "--against", "jpeg+raptorq")
    assert (status, error.count("\n")) == (2, 1)
    assert "pip install 'vqlink[packets]'" in error
