"""A small LSTM classifier and a BERT encoder, written out so that they export to one straight line of operators."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import TenantError

__all__ = ["BertEncoder", "LstmClassifier", "make"]


class LstmClassifier(nn.Module):
    """A stack of LSTM layers (Hochreiter and Schmidhuber 1997) over a fixed number of steps, and a linear head.

    Parameters
    ----------
    width, hidden, layers, steps
        Features of the input, of the state; how many layers; how many steps are unrolled.
    classes
        Outputs of the head.
    """

    def __init__(self, width: int, hidden: int, layers: int, steps: int, classes: int = 10) -> None:
        super().__init__()
        self.hidden, self.steps = hidden, steps
        self.cells = nn.ModuleList(nn.LSTMCell(width if k == 0 else hidden, hidden) for k in range(layers))
        self.head = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes) for sequences (batch, steps, width)."""
        sequence = [x[:, step] for step in range(self.steps)]
        for cell in self.cells:
            state = (x.new_zeros(x.shape[0], self.hidden), x.new_zeros(x.shape[0], self.hidden))
            outputs = []
            for item in sequence:
                state = cell(item, state)
                outputs.append(state[0])
            sequence = outputs
        logits: Tensor = self.head(sequence[-1])
        return logits


class _Attention(nn.Module):
    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(hidden, hidden) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        batch, steps, hidden = x.shape

        def heads(part: Tensor) -> Tensor:
            return part.view(batch, steps, self.heads, hidden // self.heads).transpose(1, 2)

        mixed = functional.scaled_dot_product_attention(heads(self.query(x)), heads(self.key(x)), heads(self.value(x)))
        joined: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, steps, hidden))
        return joined


class _Layer(nn.Module):
    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.attention = _Attention(hidden, heads)
        self.first, self.second = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.wide, self.narrow = nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x + self.attention(x))
        result: Tensor = self.second(x + self.narrow(functional.gelu(self.wide(x))))
        return result


class BertEncoder(nn.Module):
    """BERT's encoder (arXiv 1810.04805) with its pooler: token and position embeddings, post-norm layers, tanh pooler.

    Parameters
    ----------
    vocabulary, steps
        Number of tokens; length of the sequences.
    hidden, layers, heads
        Width, depth, attention heads. BERT-base is 768, 12, 12; the default of `make` is BERT-mini, 256, 4, 4.
    """

    def __init__(self, vocabulary: int, steps: int, hidden: int, layers: int, heads: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, hidden), nn.Embedding(steps, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.layers = nn.ModuleList(_Layer(hidden, heads) for _ in range(layers))
        self.pooler = nn.Linear(hidden, hidden)
        self.register_buffer("order", torch.arange(steps), persistent=False)

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        """``hidden`` (batch, steps, hidden) and ``pooled`` (batch, hidden) for tokens (batch, steps)."""
        x = self.norm(self.tokens(tokens) + self.places(self.order))
        for layer in self.layers:
            x = layer(x)
        return {"hidden": x, "pooled": torch.tanh(self.pooler(x[:, 0]))}


def make(name: str, batch: int, **config: int) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """``lstm`` or ``bert`` with inputs; random weights of unit gain."""
    defaults = {
        "lstm": {"steps": 16, "width": 128, "hidden": 256, "layers": 2},
        "bert": {"steps": 32, "vocabulary": 8192, "hidden": 256, "layers": 4, "heads": 4},
    }[name]
    unknown = [key for key in config if key not in defaults]
    if unknown:
        raise TenantError(f"{name} takes no {', '.join(unknown)}; it takes {', '.join(defaults)}")
    chosen = {**defaults, **config}
    module: nn.Module
    if name == "lstm":
        module = LstmClassifier(chosen["width"], chosen["hidden"], chosen["layers"], chosen["steps"])
        inputs = torch.randn(batch, chosen["steps"], chosen["width"])
    else:
        if chosen["hidden"] % chosen["heads"]:
            raise TenantError(f"bert: hidden {chosen['hidden']} must be a multiple of heads {chosen['heads']}")
        module = BertEncoder(*(chosen[key] for key in ("vocabulary", "steps", "hidden", "layers", "heads")))
        inputs = torch.randint(0, chosen["vocabulary"], (batch, chosen["steps"]))
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.normal_(0.0, 1.0 / math.sqrt(layer.in_features))
            layer.bias.normal_(0.0, 0.1)
        elif isinstance(layer, nn.LSTMCell):
            for weight in (layer.weight_ih, layer.weight_hh):
                weight.normal_(0.0, 1.0 / math.sqrt(weight.shape[1]))
    return module, (inputs,)
