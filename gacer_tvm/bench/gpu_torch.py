"""PyTorch's side of the GPU suite: reference answers, and the ways to run several models that PyTorch offers.

Float32 is float32: TF32 is switched off for matrix products and convolutions, as TVM's kernels do not use it either.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import __version__
from .._tvm import tvm
from .gpu_bench import Net, torch_inputs

__all__ = ["TorchWays", "references", "settings"]


def settings() -> dict[str, Any]:
    """Set PyTorch up and say how, for the record."""
    torch = _torch()

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    torch.set_grad_enabled(False)
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "tvm": tvm.__version__,
        "gacer_tvm": __version__,
        "connections": os.environ.get("CUDA_DEVICE_MAX_CONNECTIONS", "8"),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None,
        "tf32": False,
        "cudnn_benchmark": True,
    }


def references(nets: list[Net], device: str) -> dict[str, list[np.ndarray]]:
    """Outputs of every model run by PyTorch on the device, as float32 on the host."""
    import torch

    settings()
    found = {}
    with torch.inference_mode():
        for net in nets:
            module, inputs = torch_inputs(net, device)
            result = module(*inputs)
            values = result.values() if isinstance(result, dict) else result if isinstance(result, tuple) else [result]
            found[net.name] = [value.float().cpu().numpy() for value in values]
    return found


def _torch() -> Any:
    import torch

    return torch


class TorchWays:
    """Rounds of several models by PyTorch: each returns when the device is done.

    Parameters
    ----------
    nets, device
        The models; ``cuda``, or ``cpu`` for rehearsals, where streams mean nothing.
    """

    def __init__(self, nets: list[Net], device: str) -> None:
        settings()
        self.torch = torch = _torch()
        self.device = device
        self.models = [torch_inputs(net, device) for net in nets]
        self.streams = [torch.cuda.Stream() for _ in nets] if device == "cuda" else []

    def eager(self) -> Callable[[], None]:
        """One model after another, on one stream."""

        def round_() -> None:
            with self.torch.inference_mode():
                for module, inputs in self.models:
                    module(*inputs)
            self._finish()

        return round_

    def eager_streams(self) -> Callable[[], None]:
        """Each model on a stream of its own, issued in turn by one thread."""

        def round_() -> None:
            with self.torch.inference_mode():
                for number, (module, inputs) in enumerate(self.models):
                    with self._on(number):
                        module(*inputs)
            self._finish()

        return round_

    def compile(self, number: int) -> Any:
        """One model by ``torch.compile(mode="max-autotune")``, captured into a CUDA graph; takes a minute or more.

        The graph is captured here (mode "max-autotune-no-cudagraphs") with a memory pool of its own: those that
        torch.compile captures itself share one and must not run at the same time.
        """
        torch = self.torch
        module, inputs = self.models[number]
        # Nothing of the model before it counts towards dynamo's limit of recompilations.
        torch.compiler.reset()
        run = torch.compile(module, mode="max-autotune-no-cudagraphs")
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side), torch.inference_mode():
            for _ in range(3):
                run(*inputs)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.graph(graph):
            run(*inputs)
        return graph

    def compiled(self, graphs: list[Any]) -> tuple[Callable[[], None], Callable[[], None]]:
        """Rounds of the graphs of `compile`, one for each model: in turn, and each on a stream of its own."""

        def in_turn() -> None:
            for graph in graphs:
                graph.replay()
            self._finish()

        def on_streams() -> None:
            for number, graph in enumerate(graphs):
                with self._on(number):
                    graph.replay()
            self._finish()

        return in_turn, on_streams

    def _on(self, number: int) -> Any:
        if not self.streams:
            from contextlib import nullcontext

            return nullcontext()
        return self.torch.cuda.stream(self.streams[number])

    def _finish(self) -> None:
        if self.device == "cuda":
            self.torch.cuda.synchronize()
