"""Strategies of changes inside nested plain data, such as hyperparameters, JSON and YAML."""

from copy import deepcopy

from hypothesis import strategies as st

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.sampled_from([2**15, 2**31, 2**63, -(2**63), 10**30]),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(
        ["auto", "null", "nan", "1e3", "${run_dir}", "${oc.env:HOME}", "../..", "/", "=", "torch.nn.ReLU", "é\n"]
    ),
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


def list_paths(data, path=()):
    """The paths of all nodes below the first, as tuples of keys and indices."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    found = []
    for key, value in items:
        found += [(*path, key), *list_paths(value, (*path, key))]
    return found


@st.composite
def changed(draw, data, *, values=JUNK, at_most=3):
    """Copies of ``data`` with up to ``at_most`` nodes replaced, removed, renamed, moved or added."""
    data = deepcopy(data)
    for _ in range(draw(st.integers(1, at_most))):
        paths = list_paths(data)
        if not paths:
            break
        *parents, last = draw(st.sampled_from(paths))
        node = data
        for key in parents:
            node = node[key]
        how = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add", "copy"]))
        if how == "replace":
            node[last] = draw(values)
        elif how == "remove":
            del node[last]
        elif how == "copy":
            other = data
            for key in draw(st.sampled_from(paths)):
                other = other[key]
            node[last] = deepcopy(other)
        elif isinstance(node, dict):
            node[draw(st.text(max_size=5))] = draw(values)
        else:
            node.insert(last, draw(values))
    return data
