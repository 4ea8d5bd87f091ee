"""Fusing: from single additions and multiplications to the operations a vector machine has.

Four small rewrites, each of which keeps the order of every sum:

    x ** -1, x ** -1, ...       what is computed twice the same way is computed once
    x * c, x + c, x ** -1 ...   become operations of one operand: scale, shift, reciprocal ...
    ((a*b + 0) + c*d) + ...     a chain of additions becomes one dot, if its products have no other
                                use; a chain of other terms becomes one sum
    pick(x0*y, x1*y, ...)       becomes pick(x0, x1, ...) * y, if the products have no other use

A chain stops where kinds mix: a residual added to a dot stays an addition of its own.
"""

from collections.abc import Sequence

from engine.graph import Graph, Node, prune

ZERO = Node("const", (), 0)
POWERS = {-1: "reciprocal", -0.5: "rsqrt", 0.5: "sqrt", 2: "square"}


def fuse(graph: Graph) -> Graph:
    """Give a graph of fewer and larger nodes that computes the same terms."""
    for rewrite in REWRITES:
        graph = rewrite(graph)
    return graph


def count_uses(graph: Graph) -> list[int]:
    """Count how often each node is an operand or a term."""
    uses = [0] * len(graph)
    for node in graph.nodes:
        for operand in node.operands:
            uses[operand] += 1
    for term in graph.terms:
        uses[term] += 1
    return uses


def share(graph: Graph) -> Graph:
    """Compute once what is computed several times in the same way."""
    first: dict[Node, int] = {}
    moved: list[int] = []
    for node in graph.nodes:
        operands = tuple([moved[operand] for operand in node.operands])
        moved.append(first.setdefault(Node(node.op, operands, node.constant), len(first)))
    return Graph(tuple(first), tuple(moved[term] for term in graph.terms))


def name_constants(graph: Graph) -> Graph:
    """Turn operations with a plain number into operations of one operand."""
    nodes = list(graph.nodes)
    for place, (op, operands, constant) in enumerate(graph.nodes):
        if op == "pow" and constant in POWERS:
            nodes[place] = Node(POWERS[constant], operands)
        if op not in ("add", "mul"):
            continue
        right = nodes[operands[1]]
        is_start = op == "add" and right == ZERO  # of a sum; fuse_chains wants to see it
        if right.op == "const" and not is_start:
            nodes[place] = Node("scale" if op == "mul" else "shift", operands[:1], right.constant)
        elif right.op == "scale" and right.constant == -1 and op == "add":
            nodes[place] = Node("sub", (operands[0], right.operands[0]))
    return prune(Graph(tuple(nodes), graph.terms), len(graph.terms))


def sink_picks(graph: Graph) -> Graph:
    """Pick before multiplying by what all candidates share, not after."""
    uses = count_uses(graph)
    nodes: list[Node] = []
    moved: list[int] = []
    for node in graph.nodes:
        shared = _shared_factor(graph, node, uses) if node.op == "pick" else None
        if shared is not None:
            products = [graph.nodes[operand] for operand in node.operands]
            picked = tuple([moved[product.operands[0]] for product in products])
            nodes.append(Node("pick", picked, node.constant))
            nodes.append(Node("mul", (len(nodes) - 1, moved[shared])))
        else:
            operands = tuple([moved[operand] for operand in node.operands])
            nodes.append(Node(node.op, operands, node.constant))
        moved.append(len(nodes) - 1)
    terms = tuple(moved[term] for term in graph.terms)
    return prune(Graph(tuple(nodes), terms), len(terms))


def _shared_factor(graph: Graph, pick: Node, uses: Sequence[int]) -> int | None:
    """Give what all candidates are multiplied by, if it is one node and nobody else uses them."""
    factor = graph.nodes[pick.operands[0]].operands[1:]
    for operand in pick.operands:
        candidate = graph.nodes[operand]
        if candidate.op != "mul" or candidate.operands[1:] != factor or uses[operand] != 1:
            return None
    return factor[0]


def fuse_chains(graph: Graph) -> Graph:
    """Turn left-to-right chains of additions into dots and sums."""
    uses = count_uses(graph)

    def is_product(place: int) -> bool:
        return graph.nodes[place].op == "mul" and uses[place] == 1

    chains: dict[int, list[int]] = {}  # the last addition of a chain -> its terms
    for place, node in enumerate(graph.nodes):
        if node.op != "add":
            continue
        left, right = node.operands
        if graph.nodes[right] == ZERO:
            chains[place] = [left]
        elif (
            left in chains and uses[left] == 1 and is_product(chains[left][-1]) == is_product(right)
        ):
            chains[place] = chains.pop(left)
            chains[place].append(right)
        elif is_product(left) and is_product(right):
            chains[place] = [left, right]
    nodes: list[Node] = []
    moved: list[int] = []
    for place, node in enumerate(graph.nodes):
        op, operands = node.op, node.operands
        terms = chains.get(place)
        if terms and is_product(terms[0]):
            products = [graph.nodes[term].operands for term in terms]
            op, operands = "dot", (*(a for a, _ in products), *(b for _, b in products))
        elif terms:  # a sum of one term stays one: the second position has two
            op, operands = "sum", tuple(terms)
        moved.append(len(nodes))
        nodes.append(Node(op, tuple([moved[operand] for operand in operands]), node.constant))
    ends = tuple(moved[term] for term in graph.terms)
    return prune(Graph(tuple(nodes), ends), len(ends))


REWRITES = (share, name_constants, sink_picks, fuse_chains)
