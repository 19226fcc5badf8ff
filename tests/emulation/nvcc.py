#!/usr/bin/env python3
"""Takes the place of nvcc on the emulated device: what it makes of a CUDA source is a shared object."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from emulator import compile_kernels


def main(arguments: list[str]) -> int:
    """The few uses that the package makes of nvcc."""
    if "--version" in arguments:
        print("Cuda compilation tools, release 13.0, V13.0.0")
    elif "--list-gpu-arch" in arguments:
        print("compute_80\ncompute_90")
    else:
        try:
            made = compile_kernels(Path(arguments[-1]).read_text())
        except RuntimeError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        Path(arguments[arguments.index("-o") + 1]).write_bytes(made)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
