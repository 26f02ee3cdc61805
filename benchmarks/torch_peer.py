"""The same training step in PyTorch, which does what the official code does; for comparison only.

Inner maximisation: `steps` full sign-gradient steps in eval mode, for all samples (the released
code's early stop has no effect on single samples). Update: three forwards in training mode,
cross-entropy on the clean view, Jensen-Shannon consistency over all three, SGD.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch.nn import functional as F

from tests.models import torch_networks

STEP_SIZE, CONSISTENCY_WEIGHT = 0.1, 10.0


class Peer:
    """A network, its optimizer, and one batch.

    Args:
        name: name of a network of our registry.
        classes: number of classes.
        images: uint8 `[B, H, W, 3]`.
        chains: uint8 `[B, K, H, W, 3]`.
        labels: int `[B]`.
        steps: ascent steps.
        threads: CPU threads.
        device: "cpu" or "cuda"; the latter runs channels_last.
        mixed_precision: bfloat16 autocast; None: on CUDA only.
        compiled: whether `torch.compile` compiles the network.
        options: of the network.
    """

    def __init__(
        self,
        name: str,
        classes: int,
        images: np.ndarray,
        chains: np.ndarray,
        labels: np.ndarray,
        *,
        steps: int,
        threads: int,
        device: str = "cpu",
        mixed_precision: bool | None = None,
        compiled: bool = False,
        options: Mapping[str, int] | None = None,
    ):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.device, self.steps = device, steps
        self.layout = torch.contiguous_format if device == "cpu" else torch.channels_last
        self.mixed_precision = device != "cpu" if mixed_precision is None else mixed_precision
        network = torch_networks.create(name, classes, **(options or {}))
        self.network = network.to(device, memory_format=self.layout)
        if compiled:
            self.network = torch.compile(self.network)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), 0.1, momentum=0.9, weight_decay=5e-4
        )
        self.images = self._floats(images)
        self.chains = torch.stack([self._floats(chains[:, i]) for i in range(chains.shape[1])], 1)
        self.labels = torch.tensor(labels, device=device, dtype=torch.long)
        self.mixed = self.adversarial = self.images

    def _floats(self, images: np.ndarray) -> torch.Tensor:
        values = torch.tensor(images, device=self.device).permute(0, 3, 1, 2).float() / 255
        return values.contiguous(memory_format=self.layout)

    def _autocast(self):
        return torch.autocast(self.device, torch.bfloat16, enabled=self.mixed_precision)

    def _mix(self, m: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        w, m = p.softmax(1)[:, :, None, None, None], m[:, None, None, None]
        return (1 - m) * self.images + m * (w * self.chains).sum(1)

    def maximise(self) -> None:
        """The inner maximisation from a random start."""
        self.network.eval().requires_grad_(False)
        torch_networks.set_route(self.network, "augmented")
        m = torch.rand(len(self.images), device=self.device)
        p = torch.rand(self.chains.shape[:2], device=self.device)
        for _ in range(self.steps):
            m.requires_grad_()
            p.requires_grad_()
            with self._autocast():
                logits = self.network(self._mix(m, p))
                loss = F.cross_entropy(logits.float(), self.labels, reduction="sum")
            grad_m, grad_p = torch.autograd.grad(loss, (m, p))
            m = (m.detach() + STEP_SIZE * grad_m.sign()).clamp(0, 1)
            p = p.detach() + STEP_SIZE * grad_p.sign()
        with torch.no_grad():
            self.adversarial = self._mix(m, p)
        self.network.train().requires_grad_(True)
        self._wait()

    def update(self) -> None:
        """Three forwards, the objective, its gradient and an SGD step."""
        probabilities, clean = [], None
        for images, route in (
            (self.adversarial, "augmented"),
            (self.mixed, "clean"),
            (self.images, "clean"),
        ):
            torch_networks.set_route(self.network, route)
            with self._autocast():
                clean = self.network(images).float()
            probabilities.append(clean.softmax(1))
        log_mean = (sum(probabilities) / 3).clamp(1e-7, 1).log()
        consistency = sum(F.kl_div(log_mean, q, reduction="batchmean") for q in probabilities) / 3
        loss = F.cross_entropy(clean, self.labels) + CONSISTENCY_WEIGHT * consistency
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self._wait()

    def normal(self) -> None:
        """A step of standard training."""
        torch_networks.set_route(self.network, "clean")
        with self._autocast():
            loss = F.cross_entropy(self.network(self.images).float(), self.labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self._wait()

    def _wait(self) -> None:
        if self.device != "cpu":
            torch.cuda.synchronize()
