"""Where each expression of a function is written when it is printed.

Text is blocks of statements: the body of a function, a branch, a case. An expression that is used once, as a block's or
a let's value, is written there. Any other is bound to a number, in the innermost place that all of its uses can see,
before the first of them. What branches share thus stays one expression, and lexical scope suffices to read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gacer_tvm.relay.ast import (
    Call,
    Constant,
    Constructor,
    Expr,
    Function,
    GlobalVar,
    If,
    Let,
    Match,
    Op,
    Var,
)
from gacer_tvm.relay.walk import children

__all__ = ["Block", "Places", "find_places", "is_leaf"]


@dataclass(slots=True, eq=False)
class Block:
    """A sequence of statements.

    Parameters
    ----------
    place : (Block, int) or None
        The statement, by block and position, that this block is written within.
    depth : int
    bound : dict of int to list of Expr
        What to bind to numbers before the statement at each position, in this order.
    """

    place: Place | None
    depth: int
    bound: dict[int, list[Expr]] = field(default_factory=dict)


Place = tuple[Block, int]


def is_leaf(node: Expr) -> bool:
    """Whether a node is written at each use: variables, names and constants."""
    return isinstance(node, (Var, Constant, Op, GlobalVar, Constructor))


@dataclass(slots=True)
class Places:
    """The result of `find_places`.

    Parameters
    ----------
    root : Block
    inline : set of int
        Identities of nodes that are written where they are used.
    blocks : dict of (int, int) to Block
        The block for a node's part, by the node's identity and the number of the part.
    """

    root: Block
    inline: set[int]
    blocks: dict[tuple[int, int], Block]


@dataclass(slots=True)
class _Use:
    """All uses of one node so far.

    Parameters
    ----------
    place : Place
        The innermost that sees them.
    first : (int, int)
        The first user, by its number in the walk, and which of its parts this is. TVM numbers what a node uses when it
        comes to that node, so that this gives its order.
    count : int
    value : bool
        Whether the use is as the value of a block or a let.
    value_of_block : bool
        Whether it is not that of a let.
    """

    place: Place
    first: tuple[int, int]
    count: int = 0
    value: bool = False
    value_of_block: bool = True


def find_places(body: Expr) -> Places:
    """Where everything at or below `body` is written, `body` being the value of the outermost block."""
    root = Block(None, 0)
    found = Places(root, set(), {})
    order = list(_args_first(body))
    number = {id(node): index for index, node in enumerate(order)}
    uses: dict[int, _Use] = {}
    uses[id(body)] = _Use((root, 0), (len(order), 0), 1, True)
    # Users come before what they use, so that all uses of a node are known when it is met.
    for node in reversed(order):
        if is_leaf(node):
            continue
        use = uses[id(node)]
        place = use.place
        if use.count == 1 and use.value:
            found.inline.add(id(node))
            statement = True
        else:
            place[0].bound.setdefault(place[1], []).append(node)
            statement = False
        _place_parts(node, place, statement, found, uses, number[id(node)])
    for block in {id(b): b for b in [root, *found.blocks.values()]}.values():
        for bound in block.bound.values():
            bound.sort(key=lambda item: uses[id(item)].first)
    return found


def _place_parts(node: Expr, place: Place, statement: bool, found: Places, uses: dict[int, _Use], number: int) -> None:
    """Note the uses that `node`, written at `place`, makes of what is below it."""

    def block(part: int) -> Block:
        made = found.blocks[id(node), part] = Block(place, place[0].depth + 1)
        return made

    def use(child: Expr, at: Place, part: int, value: bool = False) -> None:
        if is_leaf(child):
            return
        known = uses.get(id(child))
        if known is None:
            uses[id(child)] = _Use(at, (number, part), 1, value)
        else:
            known.count += 1
            known.place = _common(known.place, at)
            known.first = min(known.first, (number, part))

    match node:
        case Let():
            # A let that is a block's value goes on in that block; any other is a block of its own, in parentheses.
            if statement and uses[id(node)].value_of_block:
                at, found.blocks[id(node), 0] = place, place[0]
            else:
                at = (block(0), 0)
            use(node.value, at, 0, value=True)
            if not is_leaf(node.value):
                uses[id(node.value)].value_of_block = False
            use(node.body, (at[0], at[1] + 1), 1, value=True)
        case Function():
            use(node.body, (block(0), 0), 0, value=True)
        case If():
            use(node.cond, place, 0)
            use(node.true_branch, (block(0), 0), 1, value=True)
            use(node.false_branch, (block(1), 0), 2, value=True)
        case Match():
            use(node.data, place, 0)
            for part, clause in enumerate(node.clauses):
                use(clause.rhs, (block(part), 0), part + 1, value=True)
        case _:
            for part, child in enumerate(_parts(node)):
                use(child, place, part)


def _common(one: Place, other: Place) -> Place:
    """The innermost place that sees both."""
    (block, position), (block2, position2) = one, other
    while block is not block2:
        if block.depth < block2.depth:
            block, position, block2, position2 = block2, position2, block, position
        assert block.place is not None
        block, position = block.place
    return block, min(position, position2)


def _args_first(expr: Expr) -> Iterator[Expr]:
    """Every node once, after all below it; a call's arguments before what is called, as TVM numbers them.

    The variables that functions, lets and patterns bind are not met at their binding.
    """
    seen = {id(expr)}
    stack = [(expr, iter(_parts(expr)))]
    while stack:
        node, below = stack[-1]
        for child in below:
            if id(child) not in seen:
                seen.add(id(child))
                stack.append((child, iter(_parts(child))))
                break
        else:
            stack.pop()
            yield node


def _parts(node: Expr) -> tuple[Expr, ...]:
    match node:
        case Call():
            return (*node.args, node.op)
        case Function():
            return (node.body,)
        case Let():
            return (node.value, node.body)
        case Match():
            return (node.data, *(clause.rhs for clause in node.clauses))
    return children(node)
