"""Each notebook is a pair; both halves must hold the same cells."""

from __future__ import annotations

from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext", reason="jupytext is not installed: pip install 'gacer-tvm[dev]'")
FOLDER = Path(__file__).resolve().parents[1] / "notebooks"


@pytest.mark.parametrize("script", sorted(FOLDER.glob("*.py")), ids=lambda p: p.stem)
def test_the_pair_agrees(script):
    left, right = jupytext.read(script), jupytext.read(script.with_suffix(".ipynb"))
    assert [(c.cell_type, c.source) for c in left.cells] == [(c.cell_type, c.source) for c in right.cells]


def test_no_outputs_are_committed():
    for notebook in FOLDER.glob("*.ipynb"):
        for cell in jupytext.read(notebook).cells:
            assert not cell.get("outputs"), f"{notebook.name} holds outputs, which are timings of one machine"


def test_there_is_a_quickstart():
    assert (FOLDER / "quickstart.ipynb").is_file()
