import pytest

from ocicatctl.resources.documents import parse


def values(text: str):
    found, mistakes = parse(text.encode(), "f.yaml")
    assert mistakes == []
    return [located.value for located in found]


def mistakes(content: bytes):
    found, wrong = parse(content, "f.yaml")
    assert found == []
    return wrong


def test_documents_are_separated_by_three_dashes_at_the_start_of_a_line():
    assert values("---\na: 1\n---\n# nothing\n---\nb: x---y\n--- {c: 3}\n") == [
        {"a": 1},
        {"b": "x---y"},
        {"c": 3},
    ]


def test_json_is_read_even_with_tabs():
    assert values('{\n\t"a": [1, true, null]\n}\n') == [{"a": [1, True, None]}]


def test_braces_alone_do_not_make_it_json():
    assert values("{a: 1}") == [{"a": 1}]


def test_a_byte_order_mark_and_crlf_do_no_harm():
    assert values("\ufeffa: 1\r\n---\r\nb: 2\r\n") == [{"a": 1}, {"b": 2}]


def test_a_directive_before_the_first_document_is_no_document():
    assert values("%YAML 1.2\n---\na: 1\n") == [{"a": 1}]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-11-20T18:00:00Z", "2026-11-20T18:00:00Z"),  # no time
        ("1.10", "1.10"),  # an AS number, no fraction
        ("65000:10", "65000:10"),  # a community, no number to the base of 60
        ("11:22:33:44:55:56", "11:22:33:44:55:56"),  # nor is a MAC address
        ("010", "010"),
        ("0x1f", "0x1f"),
        ("64512", 64512),
        ("-1", -1),
        ("true", True),
        ("~", None),
    ],
)
def test_a_value_is_what_it_looks_like(text, value):
    assert values(f"a: {text}") == [{"a": value}]


def test_fractions_in_json_stay_text_too():
    assert values('{"a": 1.10}') == [{"a": "1.10"}]


def test_items_of_a_list_have_their_own_places_and_inherit_kind_and_version():
    text = "apiVersion: v\nkind: IPPoolList\nitems:\n- metadata: {name: a}\n- {kind: Other}\n- 7\n"

    found, wrong = parse(text.encode(), "f.yaml")

    assert wrong == []
    assert [located.place for located in found] == [f"document 1, item {i}" for i in (1, 2, 3)]
    assert [located.value for located in found] == [
        {"apiVersion": "v", "kind": "IPPool", "metadata": {"name": "a"}},
        {"apiVersion": "v", "kind": "Other"},
        7,
    ]


def test_a_plain_list_is_a_list_of_objects():
    assert values("- {a: 1}\n- {b: 2}\n") == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize("text", ["", "\n", "---\n---\n", "# only words\n", "[]", "kind: XList"])
def test_there_may_be_nothing_in_a_file(text):
    assert values(text) == []


@pytest.mark.parametrize("content", [b"\x7fELF\xff\xfe", b"\xc3("])
def test_binary_is_no_text(content):
    assert mistakes(content) == ["f.yaml: is not text in UTF-8"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a:\n\tb: 1\n", "line 2, column 1: a tab where only blanks may stand"),
        ("a: 1\n---\nb: [1\n", "document 2: cannot be read as YAML or JSON: line 4, column 1: "),
        ("a: 1\na: 2\n", "line 2, column 1: the key 'a' is there twice"),
        ('{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ("a: \x00", "unacceptable character"),
        ("a: !!python/object/apply:os.system [true]", "could not determine a constructor"),
        ("[" * 100_000, "is nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(text, what):
    _, wrong = parse(text.encode(), "f.yaml")

    assert len(wrong) == 1
    assert wrong[0].startswith("f.yaml: document ")
    assert what in wrong[0]
    assert "\n" not in wrong[0]


def test_every_document_that_cannot_be_read_is_told():
    assert len(mistakes(b"a: [\n---\nb: [\n")) == 2
