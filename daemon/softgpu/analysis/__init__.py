"""What lanes share and where they wait, found out of ir.Function and table.py alone.

cfg.py orders blocks and finds loops; uses.py says what is read, written and alive; divergence.py
which registers are uniform and where lanes part; shapes.py how values run along the lanes;
waiting.py which loops wait for other threads.
"""
