"""Pairs whose source is drawn by this package.

``renderers`` draws digits, ``signs`` traffic signs, ``backgrounds`` what is behind them, from the random ``streams`` of
one seed. ``glyphs`` makes the embedded pairs that ``glyph_family`` lists, as ``glyphs_config`` says, with the real
digits of ``uci_digits``; ``digits``, ``glyphs_seg`` and ``signs_gtsrb`` are the pairs beside them.
"""
