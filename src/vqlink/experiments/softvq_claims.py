"""Paper 000's statements on images, judged from the rows, and those that it leaves open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vqlink.experiments.reproduction import Claim, Row, Spread, select
from vqlink.experiments.softvq_curves import Curve, at_equal_snr, curve, doubling
from vqlink.experiments.softvq_runs import cell

LEVELS = tuple(float(level) for level in range(-20, 45, 5))
NAMES = {"distance": "soft", "attention": "attentive", "identity": "no codebook"}
TRAINING = {
    "clean": "no noise",
    "fixed": "sigma 0.05",
    "integers": "sigma 1, 2, 3, 4 or 5",
    "range": "sigma 0.001 to 1",
}


def pair(rows: Sequence[Row], regime: str, power: str, **other: Any) -> tuple[Curve, Curve]:
    """What the soft and the attentive one give, over all seeds."""
    settings = {"source": source_of(rows), **other}
    soft, attentive = (
        curve(rows, {**cell(name, regime, power), **settings}) for name in ("distance", "attention")
    )
    return soft, attentive


def source_of(rows: Sequence[Row]) -> str:
    return "celeba" if any(row["source"] == "celeba" for row in rows) else "cifar10"


def lost(soft: Curve, sigma: float) -> Claim:
    text = f"the soft one, trained without noise, cannot recover the picture at sigma {sigma:g}"
    if not soft:
        return Claim(text, None, "not run")
    fall = soft[0.0].psnr.mean - soft[sigma].psnr.mean
    return Claim(text + " (a fall of 3 dB or more)", fall >= 3, _fall(soft, sigma))


def kept(attentive: Curve, sigma: float) -> Claim:
    text = f"the attentive one, trained without noise, still shows it at sigma {sigma:g}"
    if not attentive:
        return Claim(text, None, "not run")
    fall = attentive[0.0].psnr.mean - attentive[sigma].psnr.mean
    return Claim(text + " (a fall below 3 dB)", fall < 3, _fall(attentive, sigma))


def _fall(found: Curve, sigma: float) -> str:
    clean, noisy = found[0.0], found[sigma]
    return (
        f"{clean.psnr.mean:.2f} to {noisy.psnr.mean:.2f} dB at a measured SNR of {_db(noisy.snr)}"
    )


def robustness(
    soft: Curve,
    attentive: Curve,
    bound: tuple[Curve, Curve] | None,
    *,
    on: str = "",
    most: float = 1.0,
) -> list[Claim]:
    """The paper's claim at equal sigma, at equal measured SNR, and trained at equal power.

    Args:
        bound: the two under the power constraint; None where there are none.
        on: what they were trained on, for the text.
        most: the largest sigma.
    """
    claims = [
        _lower(f"the attentive one's error is the lower at every sigma of 0.001 to {most:g}{on}",
               _at_equal_sigma(soft, attentive, most)),
        _later(soft, attentive, on),
        _lower(f"... and at equal measured SNR, in dB (not in the paper){on}",
               at_equal_snr(soft, attentive, LEVELS)),
        _lower(f"... and at equal SNR of what differs from picture to picture, in dB{on}",
               at_equal_snr(soft, attentive, LEVELS, varying=True)),
    ]  # fmt: skip
    if bound is not None:
        text = f"... and where both are trained and tested at equal power, over sigma{on}"
        claims.append(_lower(text, _at_equal_sigma(*bound, most)))
    return claims


def _at_equal_sigma(soft: Curve, attentive: Curve, most: float) -> list[tuple[float, float, float]]:
    return [
        (sigma, soft[sigma].mse.mean, attentive[sigma].mse.mean)
        for sigma in soft
        if 0.001 <= sigma <= most and sigma in attentive
    ]


def _lower(text: str, points: Sequence[tuple[float, float, float]]) -> Claim:
    """Whether the second error is the lower at all points (x, error, error)."""
    if not points:
        return Claim(text, None, "not run, or no level in common")
    ahead = sum(attentive < soft for _, soft, attentive in points)
    ratios = ", ".join(f"{x:g}: {attentive / soft:.2f}" for x, soft, attentive in points)
    figures = f"{ahead} of {len(points)} points; MSE attentive / soft at {ratios}"
    return Claim(text, ahead == len(points), figures)


def _later(soft: Curve, attentive: Curve, on: str) -> Claim:
    text = f"the attentive one's error doubles at a larger sigma{on}"
    if not soft or not attentive:
        return Claim(text, None, "not run")
    limits = [doubling(soft), doubling(attentive)]
    parts = [
        f"{name} " + (f"at {found[0]:.3g}, a measured SNR of {found[1]:.1f} dB" if found
                      else f"not up to {max(curve_):g}")
        for name, found, curve_ in zip(("soft", "attentive"), limits, (soft, attentive),
                                       strict=True)
    ]  # fmt: skip
    reach = [found[0] if found else float("inf") for found in limits]
    held = None if limits == [None, None] else reach[1] > reach[0]
    return Claim(text, held, "; ".join(parts))


def same_pattern(rows: Sequence[Row]) -> Claim:
    """Section 3.4's last statement, over the levels of Figure 4."""
    text = (
        "trained at sigma 1 to 5, the attentive one shows the distortion of one trained at 0.05 "
        "(within 1 dB from sigma 0.05 to 1)"
    )
    high, low = (
        curve(rows, {**cell("attention", regime, "none"), "source": source_of(rows)})
        for regime in ("integers", "fixed")
    )
    shared = [sigma for sigma in high if 0.05 <= sigma <= 1 and sigma in low]
    if not shared:
        return Claim(text, None, "not run")
    gaps = [high[sigma].psnr.mean - low[sigma].psnr.mean for sigma in shared]
    figures = ", ".join(f"sigma {s:g}: {gap:+.2f} dB" for s, gap in zip(shared, gaps, strict=True))
    return Claim(text, max(map(abs, gaps)) <= 1, figures)


def codes(rows: Sequence[Row]) -> Claim:
    """What is left of the picture when a code is sent and not a mixture."""
    text = "codewords can be sent in place of the mixtures, at a loss below 1 dB (not in the paper)"
    losses, parts = [], []
    for name in ("distance", "attention"):
        settings = {**cell(name, "fixed", "none"), "source": source_of(rows)}
        mixture = curve(rows, settings)
        if not mixture:
            return Claim(text, None, "not run")
        found = {"mixture": mixture[0.0].psnr.mean}
        for kind in ("codeword", "nearest"):
            hard = curve(rows, settings, arrived_from=kind)
            found[kind] = hard[0.0].psnr.mean
            losses.append(found["mixture"] - found[kind])
        trained = curve(rows, {**settings, "sent": "codeword"})
        if trained:
            found["codeword, trained so"] = trained[0.0].psnr.mean
        first = select(rows, **{**settings, "arrived_from": "mixture"})[0]
        parts.append(
            f"{NAMES[name]} (mixtures of {first['mixed']:.0f} codewords): "
            + ", ".join(f"{kind} {value:.2f}" for kind, value in found.items())
            + " dB"
        )
    return Claim(text, max(losses) < 1, "; ".join(parts))


def options_of(rows: Sequence[Row]) -> list[Claim]:
    """The options beside the paper's attentive assignment, at sigma 0.05 and 0.5."""
    options: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("four heads lower the attentive one's error", "attention", {"heads": 4}),
        ("sending signs (binarised) lowers it", "attention", {"sent": "signs"}),
        ("a plus in eq. 4 lowers it", "attention", {"sign": 1}),
        ("attention as usual (plus, sqrt(d)) lowers it", "attention",
         {"sign": 1, "scale": "dim"}),
        ("a net without a codebook has a lower error than either", "identity", {}),
    )  # fmt: skip
    return [
        _option(rows, f"{text} at equal {what} (not in the paper)", name, power, change)
        for text, name, change in options
        for power, what in (("none", "sigma"), ("message", "power"))
    ]


def _option(rows: Sequence[Row], text: str, name: str, power: str, change: dict[str, Any]) -> Claim:
    settings = {"source": source_of(rows)}
    ours = curve(rows, {**cell(name, "fixed", power), **settings, **change})
    rivals = ("distance", "attention") if name == "identity" else ("attention",)
    # Of the options' seed alone: runs of one seed share their batches and their noise.
    others = [curve(rows, {**cell(r, "fixed", power), **settings}, seeds=(0,)) for r in rivals]
    if not ours or not all(others):
        return Claim(text, None, "not run")
    verdicts, parts = [], []
    for sigma in (0.05, 0.5):
        best = min(other[sigma].mse.mean for other in others)
        verdicts.append(ours[sigma].mse.mean < best)
        snr = [_db(found[sigma].snr) for found in (ours, *others)]
        parts.append(
            f"sigma {sigma}: MSE {ours[sigma].mse.mean:.4g} against {best:.4g} "
            f"(SNR {' against '.join(snr)})"
        )
    return Claim(text, all(verdicts), "; ".join(parts))


def _db(value: Spread | None) -> str:
    return "none" if value is None else f"{value.mean:.1f} dB"
