"""The demo: reading pages of text with three models that share one device.

``page`` draws what is to be read, ``ocr`` is what lies between the models, ``pipeline`` runs the three together page after
page, ``main`` builds, checks and measures.
"""
