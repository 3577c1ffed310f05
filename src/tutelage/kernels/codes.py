"""Numbers that `program.py` writes and `compiled.py` reads."""

CONV, ACTIVATION, SAVE, LOAD, ADD = range(5)  # operations
POOL, FLATTEN, END = range(3)  # what ends a segment

# Columns of an operation: what its input and output measure, a convolution's window, and by how
# much a displacement at the end of the segment is multiplied at the operation's output.
OPERATION = (
    "code",
    "argument",
    "feature",
    "features",
    "height",
    "width",
    "height_out",
    "width_out",
    "size",
    "stride",
    "left",
    "fresh",
    "ahead",
)
# Columns of a segment: its operations, what it measures at both ends, which displacements are
# needed at its end, how it ends, the pixels of the next one, the pooling window, and by how much a
# displacement at its end is multiplied at its beginning.
SEGMENT = (
    "start",
    "stop",
    "height",
    "width",
    "height_out",
    "width_out",
    "reach_y",
    "reach_x",
    "end",
    "pixels",
    "window_y",
    "window_x",
    "ahead",
)
