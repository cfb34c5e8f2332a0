"""What the lanes of a warp share, and where they wait."""
