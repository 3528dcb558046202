"""Slow reference implementations of ToCa and FORA, written from the method notes and independent of the toca package.

They keep whole T x T attention maps, sort with python's `sorted`, loop over rows and remember everything in plain
dictionaries. Only the stock submodules (norms, linear layers, feed-forwards) are called; the flow between them is
spelled out here.
"""
