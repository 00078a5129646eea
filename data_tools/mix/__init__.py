"""The paper's training mixtures, made of converted datasets.

`tables` holds the rows of the paper's Tables 10 to 12, `shares` decides how many samples each record file
gives, `leaks` leaves out records about test images, `writing` joins these into a mixture file for
`rsunivlm.data.mixtures`, and `cli` is ``python -m data_tools mix``.
"""
