"""Checks converted datasets before anything is trained on them or scored with them.

``python -m data_tools doctor OUT ...`` reads what ``convert`` wrote, as a training run would, and compares
three things that must agree: the text that a model is to learn, the truth in the targets, and the files on
disk. It reports and never repairs: what is wrong was wrong in the download or broke since, and converting
again from a sound download mends it.

`folder` reads ``conversion.json``; `records`, `texts` and `masks` check one chunk of a record file (in any
number of processes); `examination` walks through everything; `leaks` compares training with evaluation
images; `counts` compares numbers; `findings` is what comes out and `report` and `page` show it.
"""
