"""Configuration of Sphinx: ``sphinx-build -W -b html docs docs/_build/html``, without a network."""

import importlib.util
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

from smoothl1 import __version__

project = "smoothl1"
author = "the developers of smoothl1"
project_copyright = author
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_design",  # the cards of the first page
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    # Of this folder:
    "accessible",  # what axe-core finds, put right
    "api",  # pages for every public module, the command line, and the reference as one text
    "links",  # links of the Markdown files to files that are no pages
    "mathml",  # formulas without a script
    "pictures",  # what the scripts of the gallery draw
]
exclude_patterns = [
    "_build",
    "_extensions",
    "_static",
    "_templates",
    "tests",
    "words.txt",
    "examples",  # the gallery is made of them
    "gallery/*.ipynb",
    "licenses",
]
# No intersphinx: inventories of NumPy, SciPy and scikit-learn come from their sites alone. On PyPI
# are their addresses (intersphinx-registry) and tools to read them (sphobjinv), no mirror of them.
templates_path = ["_templates"]
# Packages that a module of ours imports at its start. Without one, its page is made with a dummy.
autodoc_mock_imports = [
    name
    for name in ("dask", "lightgbm", "pandas", "polars", "pyarrow", "torch", "xgboost")
    if importlib.util.find_spec(name) is None
]
autodoc_typehints = "none"  # the docstrings have them
autodoc_member_order = "bysource"
autosummary_generate = True
numpydoc_show_class_members = False  # autodoc has them
numpydoc_xref_param_type = False
default_role = "literal"  # `name` in a docstring

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "reset_argv": "pictures.arguments",
    "within_subsection_order": "pictures.place",
    "image_scrapers": ("pictures.scrape",),
    "copyfile_regex": "",
    "download_all_examples": False,
    "show_memory": False,
    "min_reported_time": 1e9,  # how long a script takes differs, and is no part of its page
    "write_computation_times": False,
    "show_signature": False,
    "remove_config_comments": True,
    # In a notebook there are no arguments, and a picture is shown, not written.
    "first_notebook_cell": "import sys\n\nsys.argv = ['', 'picture.svg']",
    "last_notebook_cell": "from IPython.display import SVG\n\nSVG('picture.svg')",
}

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "smoothl1"
html_context = {"default_mode": "auto"}
html_favicon = "_static/favicon.svg"
html_static_path = ["_static"]
html_extra_path = ["404.html"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"index": []}
html_theme_options = {
    "logo": {"text": "smoothl1"},
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
# Where the site has several versions side by side, the address that they share: its
# switcher.json lists them.
if address := os.environ.get("SMOOTHL1_DOCS_ADDRESS"):
    html_theme_options |= {
        "switcher": {
            "json_url": f"{address.rstrip('/')}/switcher.json",
            "version_match": os.environ.get("SMOOTHL1_DOCS_VERSION", release),
        },
        "check_switcher": False,  # it is written when all versions are there
        "navbar_end": ["version-switcher", "theme-switcher"],
    }
    html_baseurl = f"{address.rstrip('/')}/{os.environ.get('SMOOTHL1_DOCS_VERSION', release)}/"
