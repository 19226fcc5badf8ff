"""Print a saved Relay module as Relax."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``gacer-tvm convert``."""
    parser.add_argument("path", type=Path, help="Relay text or JSON")
    parser.add_argument("--params", type=Path, default=None, help="parameter file")
    parser.add_argument("--missing-constants", choices=("error", "params"), default="error")


def run(arguments: argparse.Namespace) -> int:
    """Read, convert, print."""
    from .. import relay
    from ..errors import RelayError

    for path in (arguments.path, arguments.params):
        if path is not None and not path.is_file():
            raise RelayError(f"no file {str(path)!r}")
    module = relay.load(arguments.path, missing_constants=arguments.missing_constants)
    params = relay.load_params(arguments.params) if arguments.params is not None else None
    converted, left = relay.to_relax(module, params)
    print(converted.script(show_meta=False))
    print(f"# {len(left)} parameters come last in main")
    return 0
