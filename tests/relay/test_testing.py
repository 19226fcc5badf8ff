"""relay.testing: structurally TVM's own models, and the three others against torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gacer_tvm import relay
from gacer_tvm.errors import RelayError
from gacer_tvm.relay import testing
from tests.relay.running import run_module


def _net(name: str) -> Any:
    return {
        "models/resnet18": lambda: testing.resnet.get_net(1, 1000, 18),
        "models/resnet50": lambda: testing.resnet.get_net(1, 1000, 50),
        "models/vgg16_bn": lambda: testing.vgg.get_net(1, (3, 224, 224), 1000, "float32", 16, True),
        "models/mobilenet": lambda: testing.mobilenet.get_net(),
        "models/densenet121": lambda: testing.densenet.get_net(121, batch_size=1),
        "models/inception_v3": lambda: testing.inception_v3.get_net(1, 1000, (3, 299, 299), "float32"),
        "models/lstm": lambda: testing.lstm.get_net(3, 16),
        "fixtures/mlp": lambda: testing.mlp.get_net(1),
        "fixtures/dqn": lambda: testing.dqn.get_net(1),
        "fixtures/resnet8_cifar": lambda: testing.resnet.get_net(1, 10, 8, (3, 28, 28)),
        "fixtures/model_resnet18": lambda: testing.resnet.get_net(1, 1000, 18, (3, 64, 64)),
        "fixtures/model_mobilenet": lambda: testing.mobilenet.get_net(data_shape=(1, 3, 64, 64)),
    }[name]()


@pytest.mark.parametrize(
    "name",
    [
        "models/resnet18", "models/resnet50", "models/vgg16_bn", "models/mobilenet", "models/densenet121",
        "models/inception_v3", "models/lstm", "fixtures/mlp", "fixtures/dqn", "fixtures/resnet8_cifar",
        "fixtures/model_resnet18", "fixtures/model_mobilenet",
    ],
)  # fmt: skip
def test_models_are_the_ones_that_tvm_printed(shared_dir: Path, name: str) -> None:
    printed = relay.load(shared_dir / "relay" / f"{name}.relay")
    built = relay.infer_types(relay.IRModule.from_expr(_net(name)))
    assert relay.structural_equal(printed, built)
    assert [p.name_hint for p in built["main"].params] == [
        p.name_hint if name != "models/lstm" or not p.name_hint.startswith("data") else "data"
        for p in printed["main"].params
    ]


def _main(net: relay.Function) -> relay.Function:
    return relay.infer_types(relay.IRModule.from_expr(net))["main"]


def _count(net: relay.Function) -> int:
    """The number of trained parameters."""
    statistics = ("data", "moving_mean", "moving_var")
    sizes = [p.type_annotation.shape for p in _main(net).params if not p.name_hint.endswith(statistics)]
    return sum(int(np.prod(shape)) for shape in sizes)


def test_variants_have_their_sizes() -> None:
    """Parameter counts of the published models, and what each layout yields."""
    resnet, squeezenet, vgg = testing.resnet.get_net, testing.squeezenet.get_net, testing.vgg.get_net
    nhwc = {"layout": "NHWC", "image_shape": (224, 224, 3)}
    for layers in (18, 34, 50, 101, 152):
        assert _main(resnet(2, 1000, layers)).ret_type.shape == (2, 1000)
        assert _count(resnet(1, 1000, layers)) == _count(resnet(1, 1000, layers, **nhwc))
    # torchvision's counts; its SqueezeNets have one more fire module.
    for layers, parameters in ((11, 132_863_336), (13, 133_047_848), (16, 138_357_544), (19, 143_667_240)):
        assert _count(vgg(1, (3, 224, 224), 1000, "float32", layers)) == parameters
    for version, parameters in (("1.0", 1_248_424), ("1.1", 1_235_496)):
        net = squeezenet(1, (3, 224, 224), 1000, version, "float32")
        assert abs(_count(net) - parameters) < 0.15 * parameters
        assert _main(net).ret_type.shape == (1, 1000)
    assert _count(testing.alexnet.get_net()) == 61_100_840
    assert _count(testing.mobilenet_v3.get_net()) == 5_483_032
    assert _count(testing.mobilenet_v3.get_net(variant="small")) == 2_542_856
    assert _main(testing.dcgan.get_net(2)).ret_type.shape == (2, 3, 64, 64)
    assert _main(testing.dcgan.get_net(2, layout="NHWC")).ret_type.shape == (2, 64, 64, 3)
    for size in (161, 169, 201):
        assert _main(testing.densenet.get_net(size, batch_size=1)).ret_type.shape == (1, 1000)
    assert _main(testing.dqn.get_net(3)).ret_type.shape == (3, 18)
    mobile = testing.mobilenet.get_net(data_shape=(1, 224, 224, 3), layout="NHWC")
    assert _main(mobile).ret_type.shape == (1, 1000)
    # BERT-base, uncased, with its pooler.
    bert = _main(testing.bert.get_net(1, 8))
    inputs = {"data", "token_types", "mask"}
    shapes = [p.type_annotation.shape for p in bert.params if p.name_hint not in inputs]
    assert sum(int(np.prod(shape)) for shape in shapes) == 109_482_240


def test_workloads_hold_a_value_for_each_weight() -> None:
    for module, params in (
        testing.dqn.get_workload(1),
        testing.squeezenet.get_workload(image_shape=(3, 64, 64)),
        testing.resnet.get_workload(1, 10, 8, (3, 28, 28)),
        testing.lstm.get_workload(2, 4),
    ):
        main = module["main"]
        assert set(params) == {p.name_hint for p in main.params} - {"data"}
        for param in main.params:
            if param.name_hint != "data":
                assert params[param.name_hint].shape == param.type_annotation.shape
                assert str(params[param.name_hint].dtype) == param.type_annotation.dtype


def test_weights_are_drawn_as_tvm_drew_them() -> None:
    _, params = testing.mlp.get_workload(1)
    # TVM drew the weights in order from numpy's global generator, seeded with 0.
    rng = np.random.RandomState(0)
    for name, (rows, columns) in (("fc1", (128, 784)), ("fc2", (64, 128)), ("fc3", (10, 64))):
        scale = np.sqrt(3.0 / ((rows + columns) / 2.0))
        want = rng.uniform(-scale, scale, size=(rows, columns)).astype("float32")
        np.testing.assert_array_equal(params[f"{name}_weight"], want)
        np.testing.assert_array_equal(params[f"{name}_bias"], np.zeros(rows, "float32"))
    assert list(params) == ["fc1_weight", "fc1_bias", "fc2_weight", "fc2_bias", "fc3_weight", "fc3_bias"]


def test_what_does_not_exist_is_refused() -> None:
    for call in (
        lambda: testing.resnet.get_net(1, 10, 33),
        lambda: testing.vgg.get_net(1, (3, 32, 32), 10, "float32", 12),
        lambda: testing.squeezenet.get_net(1, (3, 32, 32), 10, "2.0", "float32"),
        lambda: testing.resnet.get_net(1, 10, 18, layout="CHWN"),
        lambda: testing.bert.get_net(config=testing.bert.BertConfig(heads=7)),
        lambda: testing.mobilenet_v3.get_net(variant="huge"),
    ):
        with pytest.raises(RelayError):
            call()


def _torchvision() -> Any:
    # The project's own loader: its two missing operators can be declared only once in a process.
    from gacer_tvm.models.vision import _import_torchvision

    return _import_torchvision(torch).models


def _state(model: torch.nn.Module) -> list[np.ndarray]:
    """The weights in their order, with statistics in random places so that they matter."""
    values = []
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith("running_mean"):
            value.normal_(0, 0.2, generator=generator)
        values.append(value.numpy())
    return values


@pytest.mark.parametrize(
    "name", ["alexnet", "mobilenet_v3_small", pytest.param("mobilenet_v3_large", marks=pytest.mark.slow)]
)
def test_torchvisions_models_compute_the_same(name: str) -> None:
    torch.manual_seed(0)
    model = getattr(_torchvision(), name)(num_classes=11).eval()
    size = 96 if name == "alexnet" else 48
    if name == "alexnet":
        net = testing.alexnet.get_net(2, 11, (3, size, size))
    else:
        net = testing.mobilenet_v3.get_net(2, 11, (3, size, size), variant=name.rsplit("_", 1)[1])
    main = relay.infer_types(relay.IRModule.from_expr(net))["main"]
    names = [p.name_hint for p in main.params if p.name_hint != "data"]
    params = dict(zip(names, _state(model), strict=True))
    data = np.random.RandomState(0).randn(2, 3, size, size).astype("float32")
    with torch.no_grad():
        want = model(torch.from_numpy(data)).numpy()
    (found,) = run_module(relay.IRModule.from_expr(net), {"data": data}, params)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5 * np.abs(want).max())


def test_bert_is_a_transformer_that_normalizes_last() -> None:
    config = testing.bert.BertConfig(
        num_layers=2, hidden=24, heads=4, intermediate=40, vocabulary=50, positions=16, epsilon=1e-5
    )
    net = testing.bert.get_net(2, 6, config)
    _, params = testing.bert.get_workload(2, 6, config)
    rng = np.random.RandomState(1)
    params = {name: (value + rng.randn(*value.shape) * 0.05).astype("float32") for name, value in params.items()}
    tokens, types = rng.randint(0, 50, (2, 6)).astype("int32"), rng.randint(0, 2, (2, 6)).astype("int32")
    mask = np.array([[1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0, 0]], "int32")

    def t(name: str) -> torch.Tensor:
        return torch.from_numpy(params[name])

    layer = torch.nn.TransformerEncoderLayer(24, 4, 40, dropout=0, activation="gelu", batch_first=True)
    encoder = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    for index, block in enumerate(encoder.layers):
        own = f"layer{index}_"
        parts = ("query", "key", "value")
        state = {
            "self_attn.in_proj_weight": torch.cat([t(f"{own}attention_{p}_weight") for p in parts]),
            "self_attn.in_proj_bias": torch.cat([t(f"{own}attention_{p}_bias") for p in parts]),
            "self_attn.out_proj.weight": t(f"{own}attention_output_weight"),
            "self_attn.out_proj.bias": t(f"{own}attention_output_bias"),
            "linear1.weight": t(f"{own}intermediate_weight"),
            "linear1.bias": t(f"{own}intermediate_bias"),
            "linear2.weight": t(f"{own}output_weight"),
            "linear2.bias": t(f"{own}output_bias"),
            "norm1.weight": t(f"{own}attention_norm_gamma"),
            "norm1.bias": t(f"{own}attention_norm_beta"),
            "norm2.weight": t(f"{own}output_norm_gamma"),
            "norm2.bias": t(f"{own}output_norm_beta"),
        }
        block.load_state_dict(state)
    with torch.no_grad():
        body = t("embedding_token_weight")[torch.from_numpy(tokens).long()]
        body = body + t("embedding_type_weight")[torch.from_numpy(types).long()] + t("embedding_position_weight")[:6]
        body = torch.nn.functional.layer_norm(body, (24,), t("embedding_gamma"), t("embedding_beta"))
        hidden = encoder(body, src_key_padding_mask=torch.from_numpy(mask == 0))
        pooled = torch.tanh(hidden[:, 0] @ t("pooler_weight").T + t("pooler_bias"))
    inputs = {"data": tokens, "token_types": types, "mask": mask}
    found = run_module(relay.IRModule.from_expr(net), inputs, params)
    np.testing.assert_allclose(found[0][0], hidden[0].numpy(), rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(found[0][1, :4], hidden[1, :4].numpy(), rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(found[1], pooled.numpy(), rtol=1e-4, atol=2e-5)
