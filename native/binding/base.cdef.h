/* What every part of tally._native may rely on. Parts add their own files in parts/. */
