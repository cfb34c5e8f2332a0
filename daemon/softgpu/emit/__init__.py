"""LLVM IR of analysed functions."""
