"""The web demo, `toca demo`: from what a visitor wishes for to a page. Only `page.py` and `serving.py` know gradio."""
