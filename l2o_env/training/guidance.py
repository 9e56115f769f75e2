"""The guidance of a proxy in somebody's own loop: its divergence, and the gradient of that for the statistics."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from l2o_env.errors import ConfigError
from l2o_env.guidance import kl_divergence
from l2o_env.models.adapted.heads import Head, find_head, head_of, n_classes_of, n_features
from l2o_env.models.base import resident
from l2o_env.models.losses import as_rows
from l2o_env.training.parameters import Parameters


class ProxyGuidance:
    """How far a network is from its proxy on the images that it has just seen.

    What goes into the network's own head goes into the proxy's head too: the features of the pass forward that was made
    last are kept until they are asked for.

    Args:
        network: The network.
        head: Name of the module that is its head.
        proxy: The frozen network that it began as, with its own head; it is left as it is.
        proxy_head: Name of that; empty: the last linear layer.

    Raises:
        ConfigError: If the proxy is the network itself, or has no head.
    """

    def __init__(self, network: nn.Module, head: str, proxy: nn.Module, proxy_head: str = "") -> None:
        if any(module is network for module in proxy.modules()):
            raise ConfigError("The proxy is the network that is trained; give a frozen copy of what it began as.")
        self._proxy, self._head_name = proxy, find_head(proxy, proxy_head)
        self._features: Tensor | None = None
        self._ready = False
        self._handle = network.get_submodule(head).register_forward_pre_hook(self._keep)

    def _keep(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._features = args[0]

    def close(self) -> None:
        """Keeps nothing any more."""
        self._handle.remove()
        self._features = None

    def divergence(self, images: Tensor) -> Tensor:
        """KL(proxy || network) of the proxy's classes, in nats; the network's last pass was on these images.

        Raises:
            ConfigError: If there was none, or its features do not fit the proxy's head.
        """
        features, self._features = self._features, None
        if features is None:
            raise ConfigError("The network has made no pass forward since the last guidance; call model(images) first.")
        head = head_of(self._proxy, self._head_name)
        if not self._ready:
            self._proxy = resident(self._proxy, images.device, head.weight.dtype)
            head = head_of(self._proxy, self._head_name)
        with torch.no_grad():
            probs = self._proxy(images).softmax(1)
        if not self._ready:
            self._check(features, probs, head)
            self._ready = True
        frozen = {name: p.detach() for name, p in head.named_parameters()}
        logits: Tensor = torch.func.functional_call(head, frozen, (features,))
        return kl_divergence(as_rows(logits.float()), as_rows(probs.float()))

    @staticmethod
    def _check(features: Tensor, probs: Tensor, head: Head) -> None:
        dim = -1 if isinstance(head, nn.Linear) else 1
        if features.shape[dim] != n_features(head) or probs.shape[1] != n_classes_of(head):
            raise ConfigError(
                f"{features.shape[dim]} features go into the network's head, and the proxy has {probs.shape[1]} "
                f"classes; its head maps {n_features(head)} features to {n_classes_of(head)}. Name the heads that read "
                "the same: head=MODULE, proxy_head=LAYER."
            )


class PassParameters:
    """The parameters as a pass forward uses them: FSDP2 puts whole ones in place of its shards, but not for longer.

    Args:
        network: The network; nothing is kept of one that is not sharded.
    """

    def __init__(self, network: nn.Module) -> None:
        self._kept: dict[str, Tensor] = {}
        sharded = any(hasattr(module, "reshard") for module in network.modules())
        modules = network.named_modules() if sharded else ()
        self._handles = [m.register_forward_pre_hook(partial(self._keep, name)) for name, m in modules]

    def _keep(self, prefix: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        for name, p in module.named_parameters(prefix, recurse=False):
            self._kept[name] = p

    def used(self, names: Iterable[str], parameters: Iterable[Tensor]) -> list[Tensor]:
        """What the last pass used in place of the parameters of these names."""
        return [self._kept.get(name, p) for name, p in zip(names, parameters, strict=True)]

    def close(self) -> None:
        """Keeps nothing any more."""
        for handle in self._handles:
            handle.remove()
        self._kept.clear()


class GuidanceGradient:
    """The gradient of the divergence by itself, of the batches of one update.

    How much of it is in the gradients of the whole loss is told by the backward pass: a loss may be divided by a number
    of batches that are gathered, or multiplied for half precision.

    Args:
        parameters: The network's parameters.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._pass = PassParameters(parameters.network)
        self.clear()

    def clear(self) -> None:
        """Forgets what was noted."""
        self._total: list[Tensor] = []
        self._share: Tensor | None = None

    def close(self) -> None:
        """Keeps nothing any more."""
        self._pass.close()
        self.clear()

    def noted(self, divergence: Tensor, weight: float) -> Tensor:
        """The weighted term; its gradient is noted when the loss that it is part of goes backward."""
        parameters = self._parameters.tensors()
        if parameters[0].grad is None:  # gradients were set back: these are the batches of another update
            self.clear()
        used = self._pass.used(self._parameters.layout.names, parameters)
        found = torch.autograd.grad(divergence, used, retain_graph=True, allow_unused=True)
        gradients = [torch.zeros_like(p) if g is None else g for g, p in zip(found, used, strict=True)]
        term = weight * divergence

        def note(share: Tensor) -> None:
            counted = [share * gradient for gradient in gradients]
            before = self._total
            self._total = [a + b for a, b in zip(before, counted, strict=True)] if before else counted
            self._share = share.float() + (0.0 if self._share is None else self._share)

        if term.requires_grad:
            term.register_hook(note)
        return term

    def take(self) -> tuple[Tensor, Tensor] | None:
        """The gradient of the mean divergence ``(1, n)``, of the part that this process holds, and how much it counts.

        Of several processes it is the mean over their batches: in each there is only its own. None, if there was none.
        """
        total, share = self._total, self._share
        self.clear()
        if share is None:
            return None
        return self._parameters.mean([gradient.div_(share) for gradient in total]), share
