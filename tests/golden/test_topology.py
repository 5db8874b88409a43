"""The pictures of small clusters as they should look.

``make golden`` rewrites them; look at them, and review the difference like code.
"""

import os
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ocicatctl.topology.build import topology
from ocicatctl.topology.command import rendered
from ocicatctl.topology.style import style
from tests.golden.clusters import CASES

GOLDEN = Path(__file__).parent / "topology"
OUTPUTS = ("svg", "dot", "json")

# What of Graphviz's language we use: statements of one line, ids, attributes, quoted strings.
_STRING = r'"(?:[^"\\\n]|\\[\\"nl])*"'
_ATTRIBUTES = rf"\[\w+=(?:{_STRING}|\w+)(?:, \w+=(?:{_STRING}|\w+))*\]"
_STATEMENT = re.compile(
    rf"  (?:label={_STRING};|(?:node|edge|\w+|\w+ -- \w+) {_ATTRIBUTES};|// [^\n]*)"
)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("case", CASES)
def test_the_picture_is_as_expected(case, output):
    found = rendered(topology(*CASES[case]), output)
    path = GOLDEN / f"{case}.{output}"
    if os.environ.get("OCICAT_REWRITE_GOLDEN"):
        path.write_text(found)

    assert found == path.read_text()


@pytest.mark.parametrize("case", CASES)
def test_the_svg_is_xml_that_tells_what_it_shows(case):
    root = ElementTree.parse(GOLDEN / f"{case}.svg").getroot()

    (title, about) = (root.find(f"{{*}}{name}") for name in ("title", "desc"))

    assert root.get("aria-labelledby").split() == [title.get("id"), about.get("id")]
    assert about.text.startswith(topology(*CASES[case]).summary)
    allowed = {"svg", "title", "desc", "style", "g", "rect", "text", "path", "circle"}
    assert {element.tag.rpartition("}")[2] for element in root.iter()} <= allowed


@pytest.mark.parametrize("case", CASES)
def test_the_dot_is_in_the_language_of_graphviz(case):
    first, *statements, last = (GOLDEN / f"{case}.dot").read_text().splitlines()

    assert (first, last) == ("graph topology {", "}")
    assert [line for line in statements if not _STATEMENT.fullmatch(line)] == []


def test_the_picture_in_the_readme_was_drawn_by_this_code():
    page = (GOLDEN.parents[2] / "docs" / "topology.svg").read_text()

    assert style() in page, "call make topology, and look at it"


def test_every_expected_file_belongs_to_a_case():
    assert {path.name for path in GOLDEN.iterdir()} == {f"{c}.{o}" for c in CASES for o in OUTPUTS}
