"""Training against a PatchGAN discriminator (004, eq. 7 and 9), with an optimiser of its own."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam, Optimizer

from vqlink.config.schema import AdversaryConfig
from vqlink.layers.patchgan import PatchGAN


class Adversary:
    """The discriminator, its optimiser, and both sides' losses.

    The generator minimises -log D(received) in place of eq. 7's log(1 - D(received)), whose
    gradient vanishes while the discriminator wins (Goodfellow et al., 2014, section 3).

    Args:
        config: settings.
        fabric: devices and precision.
        seed: of the first weights.
    """

    def __init__(self, config: AdversaryConfig, fabric: Fabric, *, seed: int) -> None:
        self.weight, self.fabric = config.weight, fabric
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = PatchGAN(config.width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimizer = Adam(self.net.parameters(), lr=config.learning_rate, betas=config.betas)
        self.model: nn.Module
        self.optimizer: Optimizer
        self.model, self.optimizer = fabric.setup(self.net, optimizer)

    def generator_loss(self, received: Tensor) -> Tensor:
        """-log D(received), mean over patches; its gradient reaches ``received`` alone."""
        for parameter in self.net.parameters():
            parameter.requires_grad_(False)
        logits = self.net(received).float()
        for parameter in self.net.parameters():
            parameter.requires_grad_(True)
        return functional.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))

    def step(self, received: Tensor, sent: Tensor) -> Tensor:
        """One step of the discriminator on images (B, 3, H, W); returns its loss.

        Minus eq. 7: the binary cross entropies of real and received images.
        """
        # Apart, as Isola et al. do it: batch normalisation of both at once would give them away.
        real, fake = self.model(sent).float(), self.model(received.detach()).float()
        loss = functional.binary_cross_entropy_with_logits(real, torch.ones_like(real))
        loss = loss + functional.binary_cross_entropy_with_logits(fake, torch.zeros_like(fake))
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        self.optimizer.step()
        return loss.detach()
