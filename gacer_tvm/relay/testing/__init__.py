"""Whole models, as TVM's `relay.testing` had them (and three more): each module has `get_net` and `get_workload`."""

from __future__ import annotations

from gacer_tvm.relay.testing import (
    alexnet,
    bert,
    dcgan,
    densenet,
    dqn,
    inception_v3,
    init,
    layers,
    lstm,
    mlp,
    mobilenet,
    mobilenet_v3,
    resnet,
    squeezenet,
    vgg,
)
from gacer_tvm.relay.testing.init import create_workload

__all__ = [
    "alexnet",
    "bert",
    "create_workload",
    "dcgan",
    "densenet",
    "dqn",
    "inception_v3",
    "init",
    "layers",
    "lstm",
    "mlp",
    "mobilenet",
    "mobilenet_v3",
    "resnet",
    "squeezenet",
    "vgg",
]
