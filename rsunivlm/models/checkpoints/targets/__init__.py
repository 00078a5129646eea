"""Layouts that an expert of ours can leave as, one file each; `export.FORMATS` names them."""
