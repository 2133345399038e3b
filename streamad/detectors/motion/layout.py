"""What the numbers of a descriptor are, and the constants that all parts of the detector share."""

from __future__ import annotations

BLOCK = 10
"""Side of a block, working pixels: a fifth of the height that moving things have at the working size (our choice; two
blocks are a cell, about the width of a person)."""

PATCH_SIZE = 2 * BLOCK
"""Side of a cell, working pixels; cells overlap by half."""

PLACE = slice(0, 2)
"""Row and column of the cell's center, working pixels."""

SPEED = slice(2, 3)
"""Root mean square of the speed of what moves in the cell, working pixels a second."""

VELOCITY = slice(3, 7)
"""Mean speed to the right, down, left and up, working pixels a second, each at least 0 (half-wave rectified, as in
Efros et al. 2003), so that opposite movements in a cell do not cancel."""

CONTEXT = 4
"""Blocks of a cell's look to a side: 40 working pixels, most of a thing (our choice; 6 were no better on things
pasted into Ped2's normal clips)."""

CHANNELS = 7
"""What each block of a look holds: see `looks`."""

LOOK = slice(VELOCITY.stop, VELOCITY.stop + CONTEXT * CONTEXT * CHANNELS)
"""How the cell and what is around it looks: (rows, columns, channels) of blocks, flattened."""

LENGTH = LOOK.stop
"""Numbers in a descriptor."""

MEASURES = ("speed", "direction", "look")
"""What a network gives the evidence of for a cell, in this order, followed by the usual speed there, working pixels a
second."""

USUAL_SPEED = len(MEASURES)
"""Column of the usual speed in a network's output."""

SLOWEST = 0.5
"""Speed below which all is rest, working pixels a second: a hundredth of a thing's height (our choice)."""

CLOSEST = 0.1
"""Least distance to the nearest example that is told apart, in units of the usual speed there (our choice: below
what tells anything, far above the rounding of a distance in 32 bits)."""
