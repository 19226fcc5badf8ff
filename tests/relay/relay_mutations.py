"""Random damage to files, for fuzzing: made from a seed, so that a failure can be had again."""

from __future__ import annotations

import json
import random
import re
import struct

__all__ = ["mutate_bytes", "mutate_json", "mutate_text"]

_TOKENS = re.compile(r"\s+|/\*.*?\*/|[%@]?[\w./]+|\"[^\"]*\"|.", re.DOTALL)
_SCRAPS = [
    "%", "@", "(", ")", "[", "]", "{", "}", ",", ";", ":", "=", "=>", "->", ".", "-", "--", "/*", "*/", "//", '"', "\\",
    "#[", "#[metadata]", "meta[relay.Constant][0]", "meta[x][99999999999]", "%0", "%x", "%999999", "@main", "let %a = ",
    "fn (%x) {", "if (True) {", "} else {", "match (%x) {", "Tensor[(1, ?), float32]", "Tensor[(-1), int8]", "_", "?",
    "99999999999999999999999999", "4611686018427387904", "1e999f", "-inff", "nanf", "0.1", "1i7", "axis=", "axis=[[]]",
    "padding=None", "dtype=1", "units=1.5f", "True", "None", "nn.conv2d", "nosuch.op(", "ref(", "\x00", "\ud800", "é", "\n",
    "type T { A }", "def @main() { 1 }", "extern type E", "v0.0.4", "free_var %q;", ".0.0.0", "attrs_type_key=\"x\"",
]  # fmt: skip
_VALUES = ["0", "1", "-1", "", "999999", "4611686018427387904", "1" * 50, "nan", "inf", "1e999", "float32", "relay.Var"]


def mutate_text(text: str, rng: random.Random) -> str:
    """One to four changes to Relay text, by token or by character."""
    for _ in range(rng.choice([1, 1, 2, 4])):
        pieces = _TOKENS.findall(text) if rng.random() < 0.7 else list(text)
        if not pieces:
            return rng.choice(_SCRAPS)
        at = rng.randrange(len(pieces))
        match rng.randrange(8):
            case 0:
                del pieces[at]
            case 1:
                pieces.insert(at, rng.choice(_SCRAPS))
            case 2:
                pieces[at] = rng.choice(_SCRAPS)
            case 3:
                pieces[at] = rng.choice(pieces)
            case 4:
                end = min(len(pieces), at + rng.randrange(1, 40))
                pieces[at:at] = pieces[at:end]
            case 5:
                del pieces[at : at + rng.randrange(1, 40)]
            case 6:
                pieces = pieces[:at]
            case 7:
                other = rng.randrange(len(pieces))
                pieces[at], pieces[other] = pieces[other], pieces[at]
        text = "".join(pieces)
    return text


def mutate_json(text: str, rng: random.Random) -> str:
    """Changes to the graph that the JSON holds, or to its text."""
    if rng.random() < 0.15:
        return mutate_text(text, rng)
    content = json.loads(text)
    nodes = content["nodes"]
    for _ in range(rng.choice([1, 1, 2, 5])):
        node = rng.choice(nodes)
        match rng.randrange(9):
            case 0:
                content["root"] = rng.choice([0, rng.randrange(len(nodes)), -1, 1 << 62, "1", None])
            case 1:
                node["type_key"] = rng.choice([rng.choice(nodes)["type_key"], "", "nosuch", 3, None])
            case 2 | 3 | 4 if node.get("attrs"):
                field = rng.choice(list(node["attrs"]))
                node["attrs"][field] = rng.choice([str(rng.randrange(len(nodes) + 2)), *_VALUES, 5, None, []])
            case 5 if node.get("attrs"):
                del node["attrs"][rng.choice(list(node["attrs"]))]
            case 6:
                node["data"] = rng.choice(
                    [[rng.randrange(len(nodes)) for _ in range(3)], [-1], ["1"], 7, [1 << 62], None]
                )
            case 7:
                node[rng.choice(["repr_str", "repr_b64", "keys", "attrs", "data"])] = rng.choice(
                    ["AA==", 1, [], {}, ["a"]]
                )
            case 8 if content["b64ndarrays"]:
                at = rng.randrange(len(content["b64ndarrays"]))
                blob = str(content["b64ndarrays"][at])
                cut = rng.randrange(len(blob) + 1)
                content["b64ndarrays"][at] = rng.choice([blob[:cut], blob[:cut] + "!" + blob[cut:], blob + blob, 1, ""])
    return json.dumps(content)


def mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Changes to bytes: bits, lengths made huge, cuts, repeats."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(changed) or 1)
        match rng.randrange(6):
            case 0 if changed:
                changed[at] ^= 1 << rng.randrange(8)
            case 1 if changed:
                changed[at] = rng.randrange(256)
            case 2:
                at -= at % 8
                value = rng.choice([0, 1, 1 << 31, 1 << 62, (1 << 64) - 1, 1 << 40, len(changed)])
                changed[at : at + 8] = struct.pack("<Q", value)
            case 3:
                del changed[at:]
            case 4:
                del changed[at : at + rng.randrange(1, 20)]
            case 5:
                changed[at:at] = changed[at : at + rng.randrange(1, 20)]
    return bytes(changed)
