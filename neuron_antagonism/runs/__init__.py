"""A whole run: planned, carried out, stored, tabulated."""
