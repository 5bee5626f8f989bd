"""Strategies of damage to the bytes of a file."""

import struct

from hypothesis import strategies as st

NUMBERS = [0, 1, 2, 3, 4, 8, 16, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 2**31 - 1, 2**31, 2**32 - 1]
PLACE = st.floats(0, 1, exclude_max=True) | st.floats(0, 0.05)  # as a share of the file; headers more often


@st.composite
def steps(draw, *, at_most=4):
    """A list of changes; `apply_steps` makes them."""
    return draw(
        st.lists(
            st.one_of(
                st.tuples(st.just("flip"), PLACE, st.integers(0, 7)),
                st.tuples(st.just("set"), PLACE, st.binary(min_size=1, max_size=4)),
                st.tuples(
                    st.just("number"), PLACE, st.sampled_from(["<H", ">H", "<I", ">I"]), st.sampled_from(NUMBERS)
                ),
                st.tuples(st.just("cut"), PLACE),
                st.tuples(st.just("remove"), PLACE, st.integers(1, 64)),
                st.tuples(st.just("insert"), PLACE, st.binary(min_size=1, max_size=16)),
                st.tuples(st.just("repeat"), PLACE, st.integers(1, 64), st.integers(1, 3)),
                st.tuples(st.just("swap"), PLACE, PLACE, st.integers(1, 32)),
            ),
            max_size=at_most,
        )
    )


def apply_steps(content, changes):
    """Return the bytes after the changes of `steps`."""
    data = bytearray(content)
    for kind, place, *how in changes:
        start = int(place * len(data))
        if kind == "flip" and data:
            data[start] ^= 1 << how[0]
        elif kind == "set":
            data[start : start + len(how[0])] = how[0]
        elif kind == "number":
            form, number = how
            word = struct.pack(form, number % 2 ** (8 * struct.calcsize(form)))
            data[start : start + len(word)] = word
        elif kind == "cut":
            del data[start:]
        elif kind == "remove":
            del data[start : start + how[0]]
        elif kind == "insert":
            data[start:start] = how[0]
        elif kind == "repeat":
            length, times = how
            data[start:start] = bytes(data[start : start + length]) * times
        elif kind == "swap":
            other, length = int(how[0] * len(data)), how[1]
            one, two = data[start : start + length], data[other : other + length]
            if len(one) == len(two) == length and abs(start - other) >= length:
                data[start : start + length], data[other : other + length] = two, one
    return bytes(data)
