"""Motion: the density of what moves, against what was normal there."""
