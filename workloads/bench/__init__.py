"""`make bench`: what Tally costs, and how fast softgpu is, as ratios measured in one run."""
