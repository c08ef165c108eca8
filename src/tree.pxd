"""The order of a sum over the leaves: a perfect binary tree over the leaf index.

It knows nothing of what is summed: a node holds the partial sums of a leaf, and two of them are
added entry by entry. The shape depends on the number of leaves alone.
"""

from pairs cimport Pair, pair_add, pair_of


cdef struct Node:
    # Partial sums of one output; what a leaf returns and the tree adds up.
    Pair loss      # of the terms
    Pair linear    # of what PAIR and ARRAY count in the linear piece
    Pair weight    # of the weights
    double count   # of the selected elements


cdef inline Node no_node() noexcept nogil:
    cdef Node node
    node.loss = pair_of(0.0)
    node.linear = pair_of(0.0)
    node.weight = pair_of(0.0)
    node.count = 0.0
    return node


cdef inline void add_node(Node* a, const Node* b) noexcept nogil:
    a.loss = pair_add(a.loss, b.loss)
    a.linear = pair_add(a.linear, b.linear)
    a.weight = pair_add(a.weight, b.weight)
    a.count += b.count


cdef struct Stack:
    # The tree, built from the left: node[i] is the finished subtree of 2**i groups
    # of leaves, if bit i of ``groups`` is set. 2**40 groups are 2**63 elements.
    Py_ssize_t groups
    Node node[40]


cdef inline void stack_push(Stack* stack, const Node* node) noexcept nogil:
    cdef Node sum = node[0]
    cdef Node left
    cdef int level = 0
    while (stack.groups >> level) & 1:
        left = stack.node[level]
        add_node(&left, &sum)
        sum = left
        level += 1
    stack.node[level] = sum
    stack.groups += 1


cdef inline Node stack_sum(const Stack* stack) noexcept nogil:
    """The root; a subtree without a right neighbour moves up as it is."""
    cdef Node sum = no_node()
    cdef Node left
    cdef bint empty = True
    cdef int level
    for level in range(40):
        if (stack.groups >> level) & 1:
            left = stack.node[level]
            if not empty:
                add_node(&left, &sum)
            sum = left
            empty = False
    return sum


cdef inline void tree_sum(Node* nodes, Py_ssize_t n, Py_ssize_t step) noexcept nogil:
    """Sum nodes[0], nodes[step], ..., n of them, by a perfect binary tree into nodes[0]."""
    cdef Py_ssize_t width = 1, i
    while width < n:
        i = 0
        while i + width < n:
            add_node(&nodes[i * step], &nodes[(i + width) * step])
            i += 2 * width
        width *= 2
