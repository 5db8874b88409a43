"""In which forms the topology comes; the option that chooses one.

Pure: no I/O. Apart, so that ``ocicatctl lab`` need not import what draws.
"""

import click

OUTPUTS = ("text", "svg", "dot", "json", "yaml")

output_option = click.option(
    "-o", "--output", type=click.Choice(OUTPUTS), default="text", show_default=True
)
