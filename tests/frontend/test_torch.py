"""PyTorch modules become tenants that give PyTorch's answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from gacer_tvm.errors import TenantError, UnsupportedOperatorError  # noqa: E402
from gacer_tvm.frontend import Tenant, normalize  # noqa: E402

from .running import largest_error, operators, run  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning")


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def _export(module: nn.Module, *inputs: Any, **options: Any) -> Any:
    return torch.export.export(module.eval(), inputs, **options)


def _matches(module: nn.Module, *inputs: Any, tolerance: float = 1e-5) -> Tenant:
    """The tenant, its results held against PyTorch's."""
    tenant = Tenant.of(_export(module, *inputs), "model")
    found = run(tenant, {name: value.numpy() for name, value in zip(tenant.inputs, inputs, strict=True)})
    with torch.no_grad():
        expected = torch.utils._pytree.tree_leaves(module(*inputs))
    for array, value in zip(found.values(), expected, strict=True):
        assert largest_error(array, value.numpy()) < tolerance
    return tenant


def _normal(*shape: int) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


_MASK = torch.tensor([[False] * 6, [True] * 6, [True, False] * 3, [False, True] * 3, [True] * 3 + [False] * 3])
_IMAGE, _QUERY, _KEYS = (2, 4, 9, 8), (2, 4, 5, 8), (2, 4, 6, 8)
sdpa = functional.scaled_dot_product_attention

CASES: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "negative index": (lambda: Function(lambda x: x[:, -1] * x[:, 0]), ((2, 5, 3),)),
    "attention": (lambda: Function(sdpa), (_QUERY, _KEYS, _KEYS)),
    "attention, causal, three axes": (lambda: Function(lambda *t: sdpa(*t, is_causal=True)), ((4, 5, 8),) * 3),
    "attention, masked rows": (lambda: Function(lambda *t: sdpa(*t, attn_mask=_MASK)), (_QUERY, _KEYS, _KEYS)),
    "attention, grouped": (
        lambda: Function(lambda *t: sdpa(*t, enable_gqa=True, scale=0.3)),
        (_QUERY, (2, 2, 6, 8), (2, 2, 6, 8)),
    ),
    "attention, bias": (
        lambda: Function(lambda q, k, v, m: sdpa(q, k, v, attn_mask=m)),
        (_QUERY, _KEYS, _KEYS, (2, 1, 5, 6)),
    ),
    "multi-head": (lambda: nn.MultiheadAttention(16, 4, batch_first=True), ((2, 5, 16),) * 3),
    "encoder layer": (lambda: nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), ((2, 5, 16),)),
    "lstm": (lambda: nn.LSTM(8, 8, 2, batch_first=True), ((3, 2, 8),)),
    "two-way lstm": (lambda: nn.LSTM(8, 16, 1, bidirectional=True), ((3, 2, 8),)),
    "gru": (lambda: nn.GRU(8, 8, 1, batch_first=True), ((3, 2, 8),)),
    "norms": (lambda: nn.Sequential(nn.GroupNorm(2, 4), nn.InstanceNorm2d(4), nn.LayerNorm((9, 8))), (_IMAGE,)),
    "conv1d": (lambda: nn.Sequential(nn.Conv1d(4, 6, 3, padding=1), nn.BatchNorm1d(6), nn.GELU()), ((2, 4, 9),)),
    "conv3d": (lambda: nn.Sequential(nn.Conv3d(4, 6, 3, groups=2), nn.SiLU()), ((1, 4, 5, 5, 5),)),
    "padded same": (lambda: nn.Conv2d(4, 6, 3, padding="same", dilation=2), (_IMAGE,)),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose2d(4, 6, 3, 2, 1, 1), nn.BatchNorm2d(6)), (_IMAGE,)),
    "transposed 1d": (lambda: nn.ConvTranspose1d(4, 4, 3, 2), ((1, 4, 3),)),
    "pools": (lambda: nn.Sequential(nn.AvgPool2d(3, 2, 1), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d((1, 1))), (_IMAGE,)),
    "activations": (
        lambda: nn.Sequential(
            nn.Hardswish(), nn.LeakyReLU(), nn.ELU(), nn.Softplus(), nn.Mish(), nn.PReLU(), nn.ReLU6()
        ),
        ((2, 9),),
    ),
    "nearest by scale": (lambda: nn.Upsample(scale_factor=1.7), (_IMAGE,)),
    "nearest by size": (lambda: nn.Upsample(size=(18, 16)), (_IMAGE,)),
    "bilinear by scale": (lambda: nn.Upsample(scale_factor=1.7, mode="bilinear"), (_IMAGE,)),
    "bilinear by size": (lambda: nn.Upsample(size=(5, 20), mode="bilinear"), (_IMAGE,)),
    "bilinear, corners": (lambda: nn.Upsample(scale_factor=1.7, mode="bilinear", align_corners=True), (_IMAGE,)),
    "bicubic": (lambda: nn.Upsample(scale_factor=0.6, mode="bicubic"), (_IMAGE,)),
    "linear": (lambda: nn.Upsample(scale_factor=2, mode="linear"), ((2, 4, 9),)),
    "grid sample": (
        lambda: Function(lambda x, g: functional.grid_sample(x, torch.tanh(g), align_corners=False)),
        (_IMAGE, (2, 4, 5, 2)),
    ),
    "reductions": (
        lambda: Function(lambda x: (x.cumsum(1), x.topk(2).values, x.std(1), torch.einsum("ij,kj->ik", x, x))),
        ((3, 5),),
    ),
    "moves": (lambda: Function(lambda x: (torch.roll(x, 1, 1), x.flip(1), functional.pad(x, (1, 2)))), ((3, 5),)),
    "passed through": (lambda: Function(lambda x: (x, torch.ones(3), x + 1)), ((2, 4),)),
}


@pytest.mark.parametrize("name", CASES)
def test_operator(name):
    torch.manual_seed(0)
    make, shapes = CASES[name]
    _matches(make(), *(_normal(*shape) for shape in shapes))


@pytest.mark.parametrize(("kind", "tolerance"), [("half", 2e-3), ("double", 1e-12)])
def test_other_precisions(kind, tolerance):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))
    x = _normal(2, 3, 6, 6)
    _matches(getattr(module, kind)(), getattr(x, kind)(), tolerance=tolerance)


def test_integers_and_embeddings():
    torch.manual_seed(0)
    tenant = _matches(nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 3)), torch.tensor([[0, 9, 3], [1, 1, 5]]))
    assert next(iter(tenant.inputs.values())).dtype == "int64"


def test_batch_norm_is_folded():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
    module[1].running_var.uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(0))
    assert operators(normalize(_matches(module, _normal(2, 3, 6, 6)))) == [
        "relax.nn.conv2d",
        "relax.add",
        "relax.nn.relu",
    ]


class Named(nn.Module):
    """Results in a dictionary, inputs by name."""

    def forward(self, image: Any, scale: Any) -> dict[str, Any]:
        return {"scores": image.sum(1) * scale, "maps": (image, [image * 2])}


def test_inputs_and_outputs_keep_their_names():
    tenant = _matches(Named(), _normal(3, 4), torch.tensor(2.0))
    assert list(tenant.inputs) == ["image", "scale"]
    assert list(tenant.outputs) == ["scores", "maps.0", "maps.1.0"]
    assert tenant.batch == 3 and dict(tenant.batch_axes) == {"image": 0, "scale": None}
    assert list(_matches(nn.ReLU(), _normal(2, 3)).outputs) == ["output0"]


def test_a_dynamic_batch_is_bound():
    program = _export(nn.Linear(4, 2), _normal(3, 4), dynamic_shapes=({0: torch.export.Dim("n", min=2)},))
    with pytest.raises(TenantError, match=r"symbolic.*batch="):
        Tenant.of(program)
    tenant = Tenant.from_torch(program, batch=5)
    assert tenant.batch == 5 and tenant.outputs["output0"].shape == (5, 2)


def test_training_mode_and_written_inputs_are_refused():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    with pytest.raises(TenantError, match=r"tenant 'm'.*running_mean.*eval\(\)"):
        Tenant.of(torch.export.export(module, (_normal(2, 3, 6, 6),)), "m")

    def write(x: Any) -> Any:
        x.add_(1)
        return x * 2

    with pytest.raises(TenantError, match="writes into its inputs"):
        Tenant.of(_export(Function(write), _normal(2)))


def test_what_is_not_exported_is_refused_with_a_hint():
    with pytest.raises(TenantError, match=r"torch\.export\.export"):
        Tenant.of(nn.ReLU())
    with pytest.raises(TenantError, match=r"torch\.export\.export"):
        Tenant.from_torch(nn.ReLU())


def test_arguments_that_are_no_tensors_are_refused():
    with pytest.raises(TenantError, match=r"no tensor \(3"):
        Tenant.of(_export(Function(lambda x, n: x * n), _normal(2), 3))


def test_unknown_operators_are_listed_with_counts():
    program = _export(Function(lambda x: torch.fft.rfft(x).abs() + torch.fft.rfft(x * 2).abs()), _normal(2, 8))
    with pytest.raises(UnsupportedOperatorError) as caught:
        Tenant.of(program, "spectrum")
    assert "tenant 'spectrum'" in str(caught.value) and "_fft_r2c.default (2×)" in str(caught.value)


def test_the_answer_does_not_depend_on_how_often_it_is_normalized():
    tenant = Tenant.of(_export(nn.Linear(4, 2), _normal(3, 4)))
    x = np.ones((3, 4), "float32")
    np.testing.assert_array_equal(
        run(tenant, {"input": x})["output0"], run(normalize(normalize(tenant)), {"input": x})["output0"]
    )
