"""Schedule, loss, averaged weights, state files, logs and signals, each by itself."""

from __future__ import annotations

import json
import math
import signal
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from tests.conftest import small_recipe
from vqlink.config.build import build_system
from vqlink.config.load import load_recipe
from vqlink.config.schema import Recipe, TrainingConfig
from vqlink.metrics.image import ms_ssim
from vqlink.protocols import LinkOutput, Point, QuantizerOutput, VqlinkError
from vqlink.rng import stream
from vqlink.systems.jscc import JSCCOutput
from vqlink.training import checkpoint
from vqlink.training.checkpoint import load_state, read_header, save_state
from vqlink.training.ema import Ema
from vqlink.training.interrupt import Interrupt
from vqlink.training.log import TrainingLog
from vqlink.training.objective import loss_of
from vqlink.training.trainer import learning_rate


def test_learning_rate_warms_up_and_falls_to_zero_by_a_cosine() -> None:
    config = TrainingConfig(steps=110, warmup=10, learning_rate=2.0)
    rates = [learning_rate(step, config) for step in range(111)]
    assert rates[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert rates[10] == pytest.approx(2.0)
    assert rates[35] == pytest.approx(1 + math.cos(math.pi / 4))
    assert rates[60] == pytest.approx(1.0)
    assert rates[110] == pytest.approx(0.0, abs=1e-12)
    assert rates[9:] == sorted(rates[9:], reverse=True)


def test_learning_rate_without_warm_up_and_of_a_run_shorter_than_it() -> None:
    assert learning_rate(0, TrainingConfig(steps=4, warmup=0, learning_rate=3.0)) == 3.0
    short = TrainingConfig(steps=4, warmup=8, learning_rate=8.0)
    assert [learning_rate(step, short) for step in range(4)] == [1.0, 2.0, 3.0, 4.0]


def output_with(received: Tensor, losses: dict[str, Tensor]) -> JSCCOutput:
    link = LinkOutput(received=(), uses=1, tx_power=torch.ones(received.shape[0]))
    return JSCCOutput(received, QuantizerOutput(values=torch.zeros(1, 2), losses=losses), link)


def test_messages_weigh_by_their_snr_and_losses_by_the_recipe() -> None:
    recipe = small_recipe(
        "jscc-q64-awgn-1-12", "training.snr_db=[0, 20]", "training.snr_slope=0.5",
        "losses={mse: 2.0, kl: 0.25}",
    )  # fmt: skip
    sent = torch.zeros(2, 1, 3, 8, 8)
    received = torch.stack([torch.full((1, 3, 8, 8), 0.1), torch.full((1, 3, 8, 8), 0.3)])
    output = output_with(received, {"kl": torch.tensor(4.0)})
    total, parts = loss_of(output, sent, torch.tensor([0.0, 20.0]), recipe)
    # 10^(0.5 (s - 10) / 10) is 10^-0.5 at 0 dB and 10^0.5 at 20 dB.
    expected = (0.01 * 10**-0.5 + 0.09 * 10**0.5) / 2
    assert parts["mse"].item() == pytest.approx(expected, rel=1e-5)
    assert parts["plain_mse"].item() == pytest.approx(0.05, rel=1e-5)
    assert parts["kl"].item() == 4.0
    assert total.item() == pytest.approx(2 * expected + 1.0, rel=1e-5)


def test_log_mse_minimises_what_mean_psnr_measures() -> None:
    recipe = small_recipe("jscc-awgn-1-24", "losses={mse: 0, log_mse: 1}")
    sent = torch.zeros(2, 1, 3, 8, 8)
    received = torch.stack([torch.full((1, 3, 8, 8), 0.1), torch.full((1, 3, 8, 8), 0.3)])
    total, parts = loss_of(output_with(received, {}), sent, torch.tensor([0.0, 20.0]), recipe)
    mean_psnr = (20 + 20 * math.log10(1 / 0.3)) / 2
    assert parts["log_mse"].item() * 10 / math.log(10) == pytest.approx(-mean_psnr, rel=1e-5)
    assert total.item() == pytest.approx(parts["log_mse"].item())
    perfect, _ = loss_of(output_with(sent, {}), sent, torch.tensor([0.0, 20.0]), recipe)
    assert perfect.item() == pytest.approx(math.log(1e-6), rel=1e-5)


def test_a_loss_that_the_recipe_does_not_name_is_logged_but_not_minimised() -> None:
    recipe = small_recipe("jscc-q64-awgn-1-12", "training.snr_slope=0")
    x = torch.zeros(1, 1, 3, 8, 8)
    total, parts = loss_of(
        output_with(x, {"kl": torch.tensor(4.0)}), x, torch.tensor([3.0]), recipe
    )
    assert total.item() == 0.0
    assert parts["kl"].item() == 4.0


def test_ema_follows_its_formula_and_forgets_the_start() -> None:
    module = nn.Linear(2, 1)
    module.register_buffer("count", torch.tensor(0))
    ema = Ema(module, decay=0.9)
    expected = module.weight.detach().double().clone()
    for step in range(1, 200):
        with torch.no_grad():
            module.weight.fill_(math.sin(step))
            module.count.fill_(step)
        ema.update(module, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * math.sin(step)
    assert torch.allclose(ema.state["weight"].double(), expected, atol=1e-6)
    assert ema.state["count"].item() == 199  # whole numbers are copied
    assert ema.state["weight"].data_ptr() != module.weight.data_ptr()


def test_ema_refuses_another_model() -> None:
    ema = Ema(nn.Linear(2, 3), decay=0.9)
    with pytest.raises(ValueError, match="another model"):
        ema.load(Ema(nn.Linear(2, 1), decay=0.9).state)  # would broadcast
    with pytest.raises(ValueError, match="another model"):
        ema.load(Ema(nn.Linear(2, 3, bias=False), decay=0.9).state)


def trained(seed: int, channels: int = 4) -> tuple[nn.Module, AdamW, Ema]:
    """A channels-last convolution after two steps."""
    torch.manual_seed(seed)
    model = nn.Conv2d(3, channels, 3).to(memory_format=torch.channels_last)
    optimizer = AdamW(model.parameters(), lr=0.1)
    ema = Ema(model, 0.9)
    for step in (1, 2):
        optimizer.zero_grad()
        model(torch.rand(1, 3, 8, 8)).square().mean().backward()
        optimizer.step()
        ema.update(model, step)
    return model, optimizer, ema


def test_state_comes_back_bit_for_bit_and_in_its_memory_format(tmp_path: Path) -> None:
    path = tmp_path / "run" / "state.safetensors"
    model, optimizer, ema = trained(0)
    save_state(path, model, optimizer, ema, step=2, recipe="{}")
    other, other_optimizer, other_ema = trained(1)
    saved = load_state(path, other, other_optimizer, other_ema)
    assert (saved.step, saved.recipe) == (2, "{}")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
        assert torch.equal(ema.state[name], other_ema.state[name])
    states = optimizer.state_dict()["state"], other_optimizer.state_dict()["state"]
    assert states[0].keys() == states[1].keys() == {0, 1}
    for index, moments in states[0].items():
        assert moments.keys() == states[1][index].keys() >= {"step", "exp_avg", "exp_avg_sq"}
        for key, tensor in moments.items():
            assert torch.equal(tensor, states[1][index][key])
            assert tensor.stride() == states[1][index][key].stride()


def test_a_save_that_is_cut_off_leaves_the_last_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, *trained(0), step=2, recipe="{}")
    whole = path.read_bytes()

    def cut_off(tensors: object, to: Path, header: object) -> None:
        to.write_bytes(whole[: len(whole) // 2])
        raise KeyboardInterrupt  # what a kill leaves behind, without the kill

    monkeypatch.setattr(checkpoint, "save_file", cut_off)
    with pytest.raises(KeyboardInterrupt):
        save_state(path, *trained(1), step=4, recipe="{}")
    monkeypatch.undo()
    assert load_state(path, *trained(2)).step == 2
    save_state(path, *trained(1), step=4, recipe="{}")  # what was left is no hindrance
    assert load_state(path, *trained(2)).step == 4


def test_damaged_missing_and_foreign_states_are_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    with pytest.raises(VqlinkError, match="nothing to resume"):
        read_header(path)
    save_state(path, *trained(0), step=2, recipe="{}")
    whole = path.read_bytes()
    for damaged in (b"", b"not a state", whole[:20], whole[:-8]):
        path.write_bytes(damaged)
        with pytest.raises(VqlinkError, match="no training state"):
            load_state(path, *trained(0))
    path.write_bytes(whole)
    with pytest.raises(VqlinkError, match="another model"):
        load_state(path, *trained(0, channels=5))


def test_a_state_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(VqlinkError, match="can't save the training state"):
        save_state(tmp_path / "file" / "state.safetensors", *trained(0), step=1, recipe="{}")


def records(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_log_drops_what_a_killed_run_wrote_after_its_last_save(tmp_path: Path) -> None:
    with TrainingLog(tmp_path, step=0, enabled=True) as log:
        for step in (1, 2, 3):
            log.losses(step, {"loss": torch.tensor(float(step))})
        log.validation(3, {"psnr@10dB": 20.0})
        log.validation(3, {})  # a recipe without validation pictures
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')  # killed in the middle of a line
    with TrainingLog(tmp_path, step=2, enabled=True) as log:
        assert log.losses(3, {"loss": torch.tensor(7.0)}) == "loss 7.00000"
    assert records(tmp_path) == [
        {"kind": "train", "step": 1, "loss": 1.0},
        {"kind": "train", "step": 2, "loss": 2.0},
        {"kind": "train", "step": 3, "loss": 7.0},
    ]


def test_other_ranks_write_no_log(tmp_path: Path) -> None:
    with TrainingLog(tmp_path / "run", step=0, enabled=False) as log:
        log.losses(1, {"loss": torch.tensor(1.0)})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_and_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        assert not interrupt.requested
        signal.raise_signal(number)
        assert interrupt.requested
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_raises_but_a_second_term_does_not() -> None:
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    seen: list[object] = []
    before = signal.getsignal(signal.SIGINT)

    def work() -> None:
        with Interrupt() as interrupt:
            seen.extend([interrupt.requested, signal.getsignal(signal.SIGINT)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, before]


def test_recipes_survive_the_state_files_header() -> None:
    recipe = small_recipe("jscc-q64-awgn-1-12")
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_ms_ssim_is_a_loss_of_its_own() -> None:
    made = small_recipe("jscc-awgn-1-24", "losses={mse: 0, ms_ssim: 1}", "source.crop=176")
    system = build_system(made)
    sent = torch.rand(1, 2, 3, 176, 176, generator=stream(0, "x"))
    output = system(sent, Point(snr_db=torch.tensor([10.0])), generator=stream(0, "n"))
    loss, parts = loss_of(output, sent, torch.tensor([10.0]), made)
    want = 1 - ms_ssim(output.received[0].detach().clamp(0, 1), sent[0]).mean()
    assert parts["ms_ssim"].item() == pytest.approx(want.item(), abs=3e-3)  # 8-bit rounding
    torch.testing.assert_close(loss, parts["ms_ssim"])
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(torch.isfinite(p.grad).all() for p in system.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("losses.ms_ssim=1", "source.crop of 176"),
        ("losses.kl=1", "constellation"),
        ("training.snr_db=[20, 0]", "lowest SNR"),
        ("training.learning_rate=.inf", "learning_rate"),
        ("training.snr_slope=.nan", "snr_slope"),
        ("decoder={kind: deepjscc}", "different kinds"),
    ],
)
def test_settings_that_cannot_train_are_refused(change: str, message: str) -> None:
    with pytest.raises(VqlinkError, match=message):
        load_recipe("jscc-awgn-1-24", [change])
