"""The benchmark's own networks are torchvision's."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("PIL", reason="torchvision needs Pillow")

from gacer_tvm.bench import nets  # noqa: E402
from gacer_tvm.models.vision import construct  # noqa: E402
from gacer_tvm.models.zoo import _VISION  # noqa: E402


def lively(module: torch.nn.Module) -> torch.nn.Module:
    """Weights and statistics under which every layer matters to the output."""
    for value in module.state_dict().values():
        if value.dim() > 1:
            value.uniform_(-1, 1).mul_(math.sqrt(6 / value[0].numel()))
        elif value.is_floating_point():
            value.uniform_(0.5, 1.5)
    return module.eval()


@pytest.mark.parametrize("name", sorted(nets.NETS))
def test_same_function_as_torchvision(name: str) -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        # On "meta" first: the default initialization of a hundred million weights takes longer than all the rest.
        with torch.device("meta"):
            reference, net = construct(torch, _VISION[name].constructor), nets.NETS[name]().eval()
        reference = lively(reference.to_empty(device="cpu"))
        theirs, ours = reference.state_dict(), net.state_dict()
        assert [v.shape for v in ours.values()] == [v.shape for v in theirs.values()]
        net.load_state_dict(dict(zip(ours, theirs.values(), strict=True)), assign=True)
        x = torch.randn(2, 3, 64, 64)
        expected = reference(x)
        assert float(expected.std()) > 1e-6 * float(expected.abs().max())
        torch.testing.assert_close(net(x), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_seeded_weights_keep_outputs_of_ordinary_size() -> None:
    first, (x,) = nets.make("mobilenet_v3", 2, 64)
    second, (again,) = nets.make("mobilenet_v3", 2, 64)
    with torch.no_grad():
        out = first(x)
        assert torch.equal(out, second(again))
    assert out.shape == (2, 1000) and 0.05 < float(out.std()) < 20
