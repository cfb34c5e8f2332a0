"""softgpu's compiler: what PTX computes, against numpy."""
