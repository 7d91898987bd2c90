"""Results as data, tables, files and one self-contained page."""
