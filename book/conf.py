"""Settings of Sphinx for the book; `book/build.py` stages its pages and runs it."""

from importlib.metadata import distribution

# One file that loads no other: formulas are drawn as SVG, without fonts.
MATHJAX = "sphinx-mathjax-offline/static/mathjax/tex-svg.js"

project = "Saliency and image quality"
author = "The authors of this repository"
copyright = "the authors of this repository"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["README.md"]  # part of index.md

nb_execution_mode = "off"  # the committed outputs are the book's
nb_render_markdown_format = "myst"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

default_role = "literal"  # our docstrings write `name`
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # torch's, of `forward`
maximum_signature_line_length = 80
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = project
html_favicon = "_static/eye.svg"
html_static_path = ["_static", str(distribution("sphinx-mathjax-offline").locate_file(MATHJAX))]
html_css_files = ["book.css"]
html_copy_source = html_use_index = html_domain_indices = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b5c8a", "color-brand-content": "#0b5c8a"},
    "dark_css_variables": {"color-brand-primary": "#6cb6e0", "color-brand-content": "#6cb6e0"},
}
mathjax_path = "tex-svg.js"
mathjax3_config = {"options": {"enableMenu": False}}  # the menu would load more
