"""Layout of a descriptor, and the constants that all parts of the detector share."""

from __future__ import annotations

BLOCK = 10
"""Side of a block, working pixels: a fifth of the height that moving objects have at the working size. Two blocks are a
patch, about the width of a person."""

PATCH_SIZE = 2 * BLOCK
"""Side of a patch, working pixels; patches overlap by half."""

PLACE = slice(0, 2)
"""Row and column of the patch's center, working pixels."""

SPEED = slice(2, 3)
"""Root mean square speed of what moves in the patch, working pixels per second."""

VELOCITY = slice(3, 7)
"""Mean speed to the right, down, left and up, working pixels per second, each at least 0 (half-wave rectified, as in
Efros et al. 2003), so that opposite movements in a patch do not cancel out."""

CONTEXT = 4
"""Blocks on a side of a patch's appearance: 40 working pixels, most of an object. 6 were no better on objects pasted
into Ped2's normal clips."""

CHANNELS = 7
"""Values of each block's appearance, see `appearance`."""

LOOK = slice(VELOCITY.stop, VELOCITY.stop + CONTEXT * CONTEXT * CHANNELS)
"""Appearance of the patch and its surroundings: (rows, columns, channels) of blocks, flattened."""

LENGTH = LOOK.stop
"""Length of a descriptor."""

MEASURES = ("speed", "direction", "look")
"""Measures for which the network outputs a patch's evidence, in this order; the usual speed there follows, in working
pixels per second."""

USUAL_SPEED = len(MEASURES)
"""Column of the usual speed in the network's output."""

SLOWEST = 0.5
"""Speed below which everything counts as at rest, working pixels per second: a hundredth of an object's height."""

CLOSEST = 0.1
"""Smallest distance to the nearest example that is resolved, in units of the usual speed there: below what is
informative, far above the rounding of a distance in 32 bits."""
