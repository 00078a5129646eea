"""The demo: one page in the browser that asks the model about uploaded images and draws its answers.

What is asked, read, drawn and written is plain functions. Gradio (extra `demo`) is known to the modules of
the page itself: `page`, `fields`, `frame`, `style` and `local_only`, which `launch` imports last.
"""
