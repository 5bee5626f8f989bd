"""Settings of the documentation: `make docs` builds it into build/docs, warnings are errors."""

from pix2pix_lightning.utils.version import __version__

project = "pix2pix_lightning"
author = "The pix2pix_lightning authors"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

html_theme = "furo"
html_show_copyright = False
html_title = "pix2pix_lightning"
html_copy_source = False
myst_heading_anchors = 3

default_role = "code"  # docstrings write `code` with single backticks
autodoc_member_order = "groupwise"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_use_ivar = True
napoleon_use_rtype = False
