"""Layout of a descriptor, and the constants that all parts of the detector share."""

from __future__ import annotations

HEIGHT = 240
"""Height of the working frame, working pixels. Frames that are taller are shrunk to it. Smaller ones are used as they
are, with lengths and speeds scaled as if they had this height, so that the constants below hold for all: enlarging them
first was worse on the panel (mean AUC 0.959 instead of 0.967) and slower."""

CELL = 16
"""Side of a cell of the grid that the picture is divided into, working pixels."""

PLACE = slice(0, 2)
"""Row and column of the cell's center, working pixels."""

SHARE = slice(2, 3)
"""Share of the cell that moves, 0 to 1."""

FAST = slice(3, 8)
"""Movement over the shorter time: mean over the cell of the speed to the right, down, left and up, each at least 0
(half-wave rectified, as in Efros et al. 2003, so that opposite movements do not cancel out), and of the speed; working
pixels per second. What does not move counts as 0, so that a larger thing has more movement."""

SLOW = slice(8, 13)
"""Movement over the longer time, likewise."""

MOVEMENT = slice(FAST.start, SLOW.stop)
"""Movement over both times: what is compared with normal examples."""

SPEED = FAST.stop - 1
"""Column of the mean speed over the shorter time."""

STAY = SLOW.stop
"""Column of the time for which something new has been standing in the cell, seconds; see `stays.StayMeter`. In a
descriptor of movement it is 0; in one of a stay, all but it and the place is 0."""

LENGTH = STAY + 1
"""Length of a descriptor."""

LENGTH_WITHOUT_STAYS = STAY
"""Length of a descriptor in bundles that know nothing of stays."""

CLOSEST = 0.1
"""Smallest distance that is resolved: below what is informative, far above the rounding of a distance in 32 bits."""

DISTANCE, USUAL_FAST, USUAL_SLOW, USUAL_PACE, STAYED = range(5)
"""Columns of the network's output: distance to the nearest normal example, in units of the usual movement at that
place; the usual movement there over the shorter and the longer time (mean speed over the cell) and the usual pace
(speed of what moves), working pixels per second; the stay in units of the longest usual one there, which bundles that
know nothing of stays lack."""

OUTPUTS = 5
"""Number of columns of the network's output."""
