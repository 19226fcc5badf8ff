# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Three models, one executable
#
# Three Relay models are compiled into one executable for this machine's CPU. The same code compiles for a GPU with
# `target="cuda"`.

# %%
import numpy as np

import gacer_tvm
from gacer_tvm import relay
from gacer_tvm.relay import testing

# %% [markdown]
# ## The tenants
#
# `relay.testing` builds the networks that TVM used to ship. A tenant is a model with its parameters and its batch size. A
# Relay or Relax module, an ONNX file or a `torch.export` program would do as well.

# %%
BATCH = 8
image = (3, 28, 28)
tenants = {
    "ranker": testing.mlp.get_workload(BATCH),
    "player": testing.dqn.get_workload(BATCH),
    "vision": testing.resnet.get_workload(BATCH, num_classes=10, num_layers=8, image_shape=image),
}
print(relay.astext(tenants["ranker"][0])[:600])

# %% [markdown]
# ## Build
#
# `schedule="auto"` searches split factors, pointers, streams and order, measures the best few beside the plain ways, and
# keeps the winner. The report says what was predicted, what was measured, and which rule made each kernel.

# %%
exe = gacer_tvm.build(tenants, target="cpu", schedule="auto", search_seconds=5, measure_seconds=5)
print(exe.report())

# %% [markdown]
# ## Run
#
# NumPy in, NumPy out; DLPack in (PyTorch, CuPy, TVM), DLPack out.

# %%
rng = np.random.default_rng(0)
inputs = {
    name: {key: rng.standard_normal(spec.shape).astype(spec.dtype) for key, spec in tenant.inputs.items()}
    for name, tenant in exe.tenants.items()
}
outputs = exe.run(inputs)
{name: [array.shape for array in arrays] for name, arrays in outputs.items()}

# %% [markdown]
# ## The time line of one measured round
#
# One row a stream, one colour a tenant; dashed lines are the pointers where the tenants wait for each other.

# %%
profile = exe.profile()
profile.draw(title="one measured round")

# %%
print(profile.as_text(8))

# %% [markdown]
# ## The plain ways, on the same kernels
#
# One run, taken in turn, so that a drift of the machine hits every side alike.

# %%
from gacer_tvm.executable import interleave

sides = {way: gacer_tvm.build(tenants, schedule=way) for way in ("sequential", "parallel")}
for side in sides.values():
    side.run(inputs)
exe.run(inputs)
timed = interleave(
    {**{way: (lambda side=side: side.run(inputs)) for way, side in sides.items()}, "gacer": lambda: exe.run(inputs)},
    repeats=10,
)
for way, quantiles in timed.items():
    print(f"{way:12s} {quantiles}")

# %% [markdown]
# ## Save, load, share the schedule

# %%
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())
exe.save(folder / "bundle")
exe.schedule.save(folder / "schedule.json")
with gacer_tvm.load(folder / "bundle") as loaded:
    again = loaded.run(inputs)
assert all(np.array_equal(a, b) for name in outputs for a, b in zip(outputs[name], again[name]))
print(sorted(p.name for p in (folder / "bundle").iterdir()))
