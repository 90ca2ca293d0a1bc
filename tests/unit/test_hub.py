"""Weights on the hub, with a folder in the hub's place; nothing here goes to a network."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch

import vqlink
from vqlink.cli.main import run
from vqlink.config.weights import sha256_of
from vqlink.protocols import VqlinkError
from vqlink.zoo.add import describe
from vqlink.zoo.card import model_card
from vqlink.zoo.catalogue import entries, find, load_system, parse_entry
from vqlink.zoo.hub import fetch, parse_location, push
from vqlink.zoo.speech import speech_entries

NAME = "jscc-q64-awgn-1-24"


@pytest.fixture(name="hub")
def fixture_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VQLINK_HUB", str(tmp_path / "hub"))
    entry = find(NAME)
    push(entry.folder, entry, "hf://org/code", licence="apache-2.0")
    return tmp_path / "hub" / "org" / "code"


def test_what_was_pushed_is_what_loads(hub: Path) -> None:
    pushed, here = vqlink.load("hf://org/code"), vqlink.load(NAME)
    tensors = here.state_dict()
    assert all(torch.equal(t, tensors[name]) for name, t in pushed.state_dict().items())
    _, recipe, sha256 = load_system("hf://org/code")
    assert (recipe.name, sha256) == (NAME, find(NAME).sha256)
    assert {file.name for file in hub.iterdir()} == {
        "README.md", "config.json", "model.safetensors", "vqlink.json",
    }  # fmt: skip
    assert fetch("hf://org/code") == (hub, find(NAME))


def test_the_card_says_what_the_manifest_says(hub: Path) -> None:
    card, entry = (hub / "README.md").read_text(), find(NAME)
    assert card.startswith("---\nlicense: apache-2.0\n")
    for part in (
        entry.sha256, f"{entry.params:,}", "1/24", f"{entry.expected.psnr_db:.2f} dB",
        'load("hf://org/code")', "6 bits a channel use", "Tung et al.",
    ):  # fmt: skip
        assert part in card
    for other in entries():
        _, recipe, _ = load_system(other.name)
        text = model_card(other, recipe, "hf://a/b")
        assert "license" not in text  # nobody's weights get a licence that they didn't choose
        assert f"over {other.channel}, with" in text
        assert all(deviation in text for deviation in recipe.deviations)


def test_damage_of_every_kind_is_refused(hub: Path) -> None:
    whole = {file.name: file.read_bytes() for file in hub.iterdir()}

    def damaged(name: str, change: Callable[[bytes], bytes], said: str) -> None:
        (hub / name).write_bytes(change(whole[name]))
        with pytest.raises(VqlinkError, match=said) as caught:
            vqlink.load("hf://org/code")
        assert "\n" not in str(caught.value)
        (hub / name).write_bytes(whole[name])

    middle = len(whole["model.safetensors"]) // 2
    damaged(
        "model.safetensors",
        lambda b: b[:middle] + bytes([b[middle] ^ 1]) + b[middle + 1 :],
        "model.safetensors is damaged: its sha256",
    )
    damaged("model.safetensors", lambda b: b[:-1], "damaged")
    damaged("config.json", lambda b: b.replace(b"0.65", b"0.75"), "config.json is damaged")
    damaged("config.json", lambda b: b[:-1], "config.json is damaged")
    damaged("vqlink.json", lambda b: b"{", "no manifest")
    damaged("vqlink.json", lambda b: b.replace(b'"sha256"', b'"sha"'), "no manifest")
    for name in ("model.safetensors", "config.json", "vqlink.json"):
        (hub / name).rename(hub / "away")
        with pytest.raises(VqlinkError, match=f"it has no {name}"):
            vqlink.load("hf://org/code")
        (hub / "away").rename(hub / name)
    vqlink.load("hf://org/code")


@pytest.mark.parametrize(
    "text",
    ["hf://", "hf://code", "hf://a/b/c", "hf://../x", "hf://a/..", "hf://a/b@", "hf:///a", "a/b",
     "hf://a/b\n", "hf://a/b@../c", "hf:// a/b"],
)  # fmt: skip
def test_a_wrong_place(text: str) -> None:
    with pytest.raises(VqlinkError, match="hf://ORG/NAME"):
        parse_location(text)


def test_an_entry_survives_its_file() -> None:
    for entry in entries():
        assert parse_entry(json.dumps(entry.document()), "x") == entry


def test_only_what_loads_is_pushed(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQLINK_HUB", str(tmp_path))
    entry = describe(weights)
    assert entry.sha256 == sha256_of(weights / "model.safetensors")
    with pytest.raises(VqlinkError, match="not those of"):
        push(weights, find(NAME), "hf://org/code")
    with pytest.raises(VqlinkError, match="main branch"):
        push(weights, entry, "hf://org/code@v1")
    with pytest.raises(VqlinkError, match="no weights folder"):
        push(tmp_path, entry, "hf://org/code")
    assert not list(tmp_path.iterdir())
    push(weights, entry, "hf://org/code")
    assert vqlink.load("hf://org/code").uses(64, 64) == 1024


def test_the_commands(
    tmp_path: Path, weights: Path, picture_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("VQLINK_HUB", str(tmp_path / "hub"))
    assert run(["push", str(weights), "hf://me/mine"]) == 0
    assert "vqlink send PICTURE --system hf://me/mine" in capsys.readouterr().out
    words = ["evaluate", "hf://me/mine", "--data", str(picture_path), "--metric", "psnr", "--json"]
    assert run(words) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    speech = str(speech_entries()[0].folder)
    assert row["system"] == "hf://me/mine"
    for words, said in (
        (["push", "nothing", "hf://me/mine"], "no weights named"),
        (["push", "text-q32", "hf://me/mine"], "text-q32 is for sentences"),
        (["push", speech, "hf://me/mine"], "is for recordings"),
        (["push", str(weights), "me/mine"], "hf://ORG/NAME"),
        (
            ["send", str(picture_path), "--system", "hf://me/other", "--out", str(tmp_path)],
            "vqlink",
        ),
    ):
        assert run(words) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


def test_the_client_is_asked_for_the_three_files_alone(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What we call must be the client's signature; what it raises must be one line."""
    monkeypatch.delenv("VQLINK_HUB")
    calls = []
    signature = inspect.signature(huggingface_hub.snapshot_download)

    def snapshot(*args: object, **kwargs: object) -> str:
        calls.append(signature.bind(*args, **kwargs).arguments)
        return str(hub)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    vqlink.load("hf://org/code@v1.2")
    assert calls[0]["repo_id"] == "org/code"
    assert calls[0]["revision"] == "v1.2"
    assert calls[0]["allow_patterns"] == ["vqlink.json", "config.json", "model.safetensors"]

    def offline(*args: object, **kwargs: object) -> str:
        raise OSError("no route\nto the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(VqlinkError, match=r"cannot be fetched: no route to the hub"):
        vqlink.load("hf://org/code")


def test_pushing_uses_the_client_as_it_is(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VQLINK_HUB", raising=False)
    calls: dict[str, dict[str, object]] = {}
    real = huggingface_hub.HfApi

    def record(name: str, answer: object) -> Callable[..., object]:
        signature = inspect.signature(getattr(real, name))

        def call(*args: object, **kwargs: object) -> object:
            calls[name] = signature.bind(None, *args, **kwargs).arguments
            if name == "upload_folder":
                files = Path(str(kwargs["folder_path"])).iterdir()
                calls[name]["files"] = sorted(file.name for file in files)
            return answer

        return call

    fake = SimpleNamespace(
        create_repo=record("create_repo", "https://hub/org/code"),
        upload_folder=record("upload_folder", None),
    )
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: fake)
    assert push(weights, describe(weights), "hf://org/code", private=True) == "https://hub/org/code"
    assert calls["create_repo"]["private"] is True
    assert calls["upload_folder"]["repo_id"] == "org/code"
    assert calls["upload_folder"]["files"] == [
        "README.md", "config.json", "model.safetensors", "vqlink.json",
    ]  # fmt: skip
