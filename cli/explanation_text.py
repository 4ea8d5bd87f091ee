"""An explanation laid out to be read on a terminal, a section after the other, 100 columns wide."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import pairwise

from cli.explanation import Explanation, largest
from engine.contributions import CONST, PARAM, Contribution, Node, PathStep

WIDTH = 100  # columns
DOCUMENT_SHOWN = 50  # characters
NODE_COLUMNS = ("node", "position", "matrix read", "value", "gradient")


def text_of(explanation: Explanation, top: int) -> Iterator[str]:
    """Give the lines; of a gradient, the `top` largest contributions."""
    yield from _head(explanation)
    yield from _document(explanation)
    yield from _passes(explanation)
    yield from _times(explanation)
    if explanation.path:
        yield from _gradient(explanation.path, top)
    yield from _program(explanation)


def _head(explanation: Explanation) -> Iterator[str]:
    last = explanation.positions[-1]
    document = explanation.document
    shown = document if len(document) <= DOCUMENT_SHOWN else document[:DOCUMENT_SHOWN] + "..."
    count = len(explanation.positions)
    positions = "1 position" if count == 1 else f"{count} positions"
    yield f"{shown!r}: {positions}, loss {explanation.loss:.4f} nats"
    yield f"parameters: {explanation.num_params:,}, {explanation.parameters}"
    if explanation.is_cut:
        yield (
            f"cut to {len(explanation.positions)} positions (block_size), as training cuts it:"
            f" the last to predict is {last.target!r}"
        )


def _document(explanation: Explanation) -> Iterator[str]:
    yield from _title("The document", "each position predicts its target from the tokens so far")
    rows = [
        (
            str(one.position),
            _visible(one.token),
            str(one.token_id),
            _visible(one.target),
            str(one.target_id),
            f"{one.probability:.4f}",
            f"{one.loss:.4f}",
        )
        for one in explanation.positions
    ]
    rows.append(("", "", "", "", "", "mean", f"{explanation.loss:.4f}"))
    headers = ("position", "token", "id", "target", "id", "probability", "loss (nats)")
    yield from _table(headers, ">>>>>>>", rows)


def _passes(explanation: Explanation) -> Iterator[str]:
    yield from _title("The graph, and what each pass makes of it")
    yield "  eager makes a node for each operation on this document's numbers. trace writes these"
    yield "  down without numbers, for any document of this length. Then it is fused: share"
    yield "  computes once what is the same, name_constants names operations with a plain number,"
    yield "  sink_picks picks before it multiplies, fuse_chains joins the operations of a sum."
    yield "  vectorize joins nodes that do the same and need not wait for each other."
    yield ""
    for one in explanation.passes:
        operations = ", ".join(f"{name} {count:,}" for name, count in one.operations.items())
        head = f"  {one.name:<15}{one.size:>8,} {one.of:<13}"
        yield from textwrap.wrap(
            operations, WIDTH, initial_indent=head, subsequent_indent=" " * len(head)
        )


def _times(explanation: Explanation) -> Iterator[str]:
    yield from _title("Time per stage")
    for name, seconds in explanation.seconds.items():
        yield f"  {name:<48}{seconds * 1000:>10,.3f} ms"
    yield ""
    yield f"  The compiled gradient differs from eager's by {explanation.difference:.1g} at most,"
    yield "  relative to its largest number."


def _program(explanation: Explanation) -> Iterator[str]:
    yield from _title("The vector program")
    yield "  v1 [n]: line 1 gives n numbers, of all positions; (16 each): each of 16 operands."
    yield "  dot, scale, shift, rsqrt, mul: a norm. max, sub, exp, sum, reciprocal, mul: a softmax."
    yield ""
    yield from (f"  {line}".rstrip() for line in explanation.program)


def _gradient(path: Sequence[PathStep], top: int) -> Iterator[str]:
    parameter = path[0].node
    yield from _title(f"The gradient of {parameter.detail}, in eager's graph")
    yield f"  {parameter.detail} = {parameter.data!r}"
    yield f"  d loss / d {parameter.detail} = {parameter.grad!r}"
    if not path[0].contributions:
        yield "  No node uses it: its token or position does not come in this document."
        return
    yield ""
    yield "  gradient: d loss / d node; local: d node / d (what it uses); adds: their product;"
    yield "  position and matrix read: where the model was when it made the node."
    yield from _contributions(path[0], parameter.detail, top)
    branching = next((step for step in path if len(step.contributions) > 1), path[0])
    if branching is not path[0]:  # a single node uses the parameter: the sum comes later
        node = branching.node
        name = f"the {node.op} at position {node.position}, on the way to the loss,"
        yield from _contributions(branching, name, top)
    yield ""
    yield "  The largest contribution, from node to node up to the loss; share: of how many"
    yield "  contributions to the gradient of the line before:"
    yield ""
    yield from _table((*NODE_COLUMNS, "local", "share"), "<><>>>>", [*_path_rows(path)])


def _contributions(step: PathStep, name: str, top: int) -> Iterator[str]:
    count = len(step.contributions)
    shown = largest(step.contributions, top)
    amount = "is one contribution" if count == 1 else f"adds up {count} contributions"
    which = f"; the {top} largest" if len(shown) < count else ""
    yield ""
    yield f"  The gradient of {name} {amount}{which}:"
    yield ""
    rows = [
        (*_cells(one.node, _operation(one)), _short(one.local_grad), _short(one.value), _share(one))
        for one in shown
    ]
    headers = (*NODE_COLUMNS, "local", "adds", "share")
    yield from _table(headers, "<><>>>>>", rows)


def _path_rows(path: Sequence[PathStep]) -> Iterator[tuple[str, ...]]:
    """Give a row for each node of the path; the additions of one sum share one."""
    yield (*_cells(path[0].node, path[0].node.detail), "", "")
    additions = 0
    for step, following in pairwise(path):
        one = step.largest
        additions = additions + 1 if _is_only_addition(step) else 0
        if additions and _is_only_addition(following) and _same_place(one, following.largest):
            continue
        operation = f"add, {additions} in a row" if additions > 1 else _operation(one)
        share = f"{_share(one)} of {len(step.contributions)}"
        yield (*_cells(one.node, operation), _short(one.local_grad), share)
        additions = 0


def _is_only_addition(step: PathStep) -> bool:
    return len(step.contributions) == 1 and step.contributions[0].node.op == "add"


def _same_place(one: Contribution, other: Contribution) -> bool:
    return (one.node.position, one.node.matrix) == (other.node.position, other.node.matrix)


# ---- words and columns --------------------------------------------------------------------------


def _operation(contribution: Contribution) -> str:
    """Say what a node does with the number that it uses."""
    words = [contribution.node.op, contribution.node.detail]
    return " ".join(filter(None, [*words, *map(_operand, contribution.others)]))


def _operand(node: Node) -> str:
    if node.op == CONST:
        return _short(node.data)
    return node.detail if node.op == PARAM else f"({node.op} {node.detail}".rstrip() + ")"


def _cells(node: Node, operation: str) -> tuple[str, ...]:
    position = "" if node.position is None else str(node.position)
    return (operation, position, node.matrix, _short(node.data), _short(node.grad))


def _visible(token: str) -> str:
    return token if token.isprintable() and not token.isspace() else repr(token)


def _short(number: float) -> str:
    return f"{number:.3g}"


def _share(contribution: Contribution) -> str:
    return f"{contribution.share:.0%}"


def _title(title: str, note: str = "") -> Iterator[str]:
    yield ""
    yield f"{title}: {note}" if note else title
    yield ""


def _table(headers: Sequence[str], alignments: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lay rows out in columns; `<` aligns a column to the left, `>` to the right."""
    columns = list(zip(headers, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    for row in (headers, *rows):
        cells = zip(row, alignments, widths, strict=True)
        yield ("  " + "  ".join(f"{cell:{side}{width}}" for cell, side, width in cells)).rstrip()
