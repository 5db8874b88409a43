"""Calico's own examples of selectors, and what must hold for every one."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodel.errors import Invalid
from datamodel.selector import MAX_DEPTH, parse

# ---- what selects whom -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "selected", "others"),
    [
        ("", [{}, {"a": "b"}], []),
        (" \t", [{}], []),
        ("all()", [{}, {"a": "b"}], []),
        ("global( )", [{}, {"a": "b"}], []),
        ("has(a)", [{"a": ""}, {"a": "b", "c": "d"}], [{}, {"b": "a"}]),
        ("! has( a )", [{}, {"b": "a"}], [{"a": "b"}]),
        ("a == 'b'", [{"a": "b"}], [{}, {"a": "bb"}, {"b": "a"}]),
        ('a=="b"', [{"a": "b"}], [{"a": "c"}]),
        ("a != 'b'", [{}, {"a": "c"}], [{"a": "b"}]),
        ("a in {'b', \"c\"}", [{"a": "b"}, {"a": "c"}], [{}, {"a": "d"}]),
        ("a in{'b',}", [{"a": "b"}], [{}, {"a": ""}]),
        ("a in {}", [], [{}, {"a": ""}, {"a": "b"}]),
        ("a not in {'b', 'c'}", [{}, {"a": "d"}], [{"a": "b"}, {"a": "c"}]),
        ("a notin {'b'}", [{}, {"a": "c"}], [{"a": "b"}]),
        ("a not in {}", [{}, {"a": "b"}], []),
        ("a contains 'b'", [{"a": "abc"}, {"a": "b"}], [{}, {"a": "ac"}]),
        ("a contains ''", [{"a": ""}, {"a": "b"}], [{}]),
        ("a starts with 'b'", [{"a": "bc"}, {"a": "b"}], [{}, {"a": "cb"}]),
        ("a startswith 'b'", [{"a": "bc"}], [{"a": "cb"}]),
        ("a ends \t with 'b'", [{"a": "cb"}, {"a": "b"}], [{}, {"a": "bc"}]),
        ("!a == 'b'", [{}, {"a": "c"}], [{"a": "b"}]),
        ("!!! has(a)", [{}], [{"a": "b"}]),
        ("has(a) && has(b)", [{"a": "", "b": ""}], [{"a": ""}, {"b": ""}]),
        ("has(a) || has(b)", [{"a": ""}, {"b": ""}], [{}, {"c": ""}]),
        ("has(a) || has(b) && has(c)", [{"a": ""}, {"b": "", "c": ""}], [{"b": ""}, {"c": ""}]),
        ("(has(a) || has(b)) && has(c)", [{"a": "", "c": ""}], [{"a": ""}, {"c": ""}]),
        ("!has(a) && has(b)", [{"b": ""}], [{}, {"a": "", "b": ""}]),
        ("!(has(a) && has(b))", [{}, {"b": ""}], [{"a": "", "b": ""}]),
        ("""a == 'say "b"'""", [{"a": 'say "b"'}], [{"a": "say b"}]),
        ("a == 'b\\'", [{"a": "b\\"}], [{"a": "b"}]),
        ("a == '\n'", [{"a": "\n"}], [{}]),
        ("k8s.io/the_role-1 == 'x'", [{"k8s.io/the_role-1": "x"}], [{}]),
    ],
)
def test_a_selector_selects_by_labels(text, selected, others):
    selector = parse(text)

    assert [labels for labels in selected if not selector.matches(labels)] == []
    assert [labels for labels in others if selector.matches(labels)] == []


@pytest.mark.parametrize(
    "word", ["has", "all", "global", "contains", "in", "not", "starts", "ends"]
)
def test_a_word_of_the_language_may_be_a_label(word):
    assert parse(f"{word} == 'x' && {word} contains 'x'").matches({word: "x"})
    assert parse(f"has({word})").matches({word: "x"})


@pytest.mark.parametrize(
    ("text", "uses"),
    [
        ("global()", True),
        ("has(a) && !(has(b) || global())", True),
        ("all()", False),
        ("a == 'global()'", False),
        ("has(global)", False),
    ],
)
def test_the_use_of_global_is_told(text, uses):
    assert parse(text).uses_global is uses


# ---- how it is written -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", "all()"),
        (" (all() )", "all()"),
        ("! (has( b)||! has(a ))", "!(has(b) || !has(a))"),
        ("! (a == 'b'&&! c != \"d\")", '!(a == "b" && !c != "d")'),
        ("(has(a) && has(b)) || has(c)", "has(a) && has(b) || has(c)"),
        ("(has(a) && has(b)) && has(c)", "(has(a) && has(b)) && has(c)"),
        ("(has(a) || has(b)) || has(c)", "(has(a) || has(b)) || has(c)"),
        ("!(!(has(a)))", "has(a)"),
        ("a == '\"'", "a == '\"'"),
        ('a contains "\'"', 'a contains "\'"'),
        ("a startswith 'b'", 'a starts with "b"'),
        ("a notin {'z', 'x', 'z', 'y'}", 'a not in {"x", "y", "z"}'),
        ("a in {}", "a in {}"),
    ],
)
def test_a_selector_is_written_in_one_way(text, written):
    assert str(parse(text)) == written


# ---- what is no selector -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected", "position"),
    [
        ("b", "==, !=, in, not in, contains, starts with or ends with", 2),
        ("a b", "==, !=, in, not in, contains, starts with or ends with", 3),
        ("a = 'b'", "==, !=, in, not in, contains, starts with or ends with", 3),
        ("b == b", "text in quotes", 6),
        ("'b1' == b", "a label, has(, all(), global(), ! or (", 1),
        ("!", "a label, has(, all(), global(), ! or (", 2),
        ("!= 'a'", "a label, has(, all(), global(), ! or (", 2),
        ("()", "a label, has(, all(), global(), ! or (", 2),
        (")", "a label, has(, all(), global(), ! or (", 1),
        ("%", "a label, has(, all(), global(), ! or (", 1),
        ("all()\n", "&&, || or the end", 6),
        ("\n", "a label, has(, all(), global(), ! or (", 1),
        ("a == 'b' &", "&&, || or the end", 10),
        ("a == 'b' all()", "&&, || or the end", 10),
        ("has(a) &&", "a label, has(, all(), global(), ! or (", 10),
        ("(has(a)", "&&, || or )", 8),
        ("has(", "a label and )", 5),
        ("has( 'a')", "a label and )", 6),
        ("all(a)", ")", 5),
        ("has (a)", "==, !=, in, not in, contains, starts with or ends with", 5),
        ("a in 'b'", "{", 6),
        ("a in {'b' 'c'}", ", or }", 11),
        ("a in {,}", "text in quotes", 7),
        ("a in {'b'", ", or }", 10),
        ("a == 'b", "text in quotes", 6),
        ("a == \"b'", "text in quotes", 6),
    ],
)
def test_what_was_expected_is_said_and_where(text, expected, position):
    with pytest.raises(Invalid) as caught:
        parse(text)

    assert f"selector {text!r}: expected {expected} at character {position}, found " in str(
        caught.value
    )


def test_a_label_has_at_most_512_characters():
    assert parse(f"has({'a' * 512})").matches({"a" * 512: ""})
    for text in ("{}=='x'", "has({})"):
        with pytest.raises(Invalid, match="expected a label of at most 512 characters"):
            parse(text.format("a" * 513))


def test_a_message_stays_short():
    with pytest.raises(Invalid) as caught:
        parse("a == 'b' && " * 10_000)

    assert len(str(caught.value)) < 600


def test_a_selector_may_be_nested_so_deep_and_no_deeper():
    def nested(depth: int) -> str:
        return "has(a) && (has(b) || !(" * (depth // 2) + "has(c)" + "))" * (depth // 2)

    deepest = parse(nested(MAX_DEPTH))

    assert parse(str(deepest)) == deepest
    assert hash(parse(nested(MAX_DEPTH) + " ")) == hash(deepest)
    assert deepest.matches({"a": "", "b": ""})
    for text in (nested(MAX_DEPTH + 2), "(" * 100_000, "!(" * 100_000):
        with pytest.raises(Invalid, match=f"at most {MAX_DEPTH} levels of parentheses"):
            parse(text)


def test_a_long_selector_is_not_a_deep_one():
    text = " || ".join(f"!!!a == '{i}'" for i in range(1_999)) + " || " + "!" * 1_999 + "has(a)"

    assert parse(text).matches({})


# ---- what holds for every selector -------------------------------------------------------------

LABELS = ["a", "b", "in", "k8s.io/role"]
VALUES = ["", "a", "ab", "ba", 'with "quotes"', "it's"]
labels = st.sampled_from(LABELS)
values = st.sampled_from(VALUES)
label_maps = st.dictionaries(labels, values)
spaces = st.sampled_from(["", " ", "\t", "  "])

# A tree is (operator, operands …), written and evaluated here in the most direct way.
leaves = st.one_of(
    st.tuples(st.sampled_from(["all", "global"])),
    st.tuples(st.just("has"), labels),
    st.tuples(
        st.sampled_from(["==", "!=", "contains", "starts with", "ends with"]), labels, values
    ),
    st.tuples(st.sampled_from(["in", "not in"]), labels, st.lists(values, max_size=3)),
)
trees = st.recursive(
    leaves,
    lambda inner: (
        st.tuples(st.just("!"), inner)
        | st.tuples(st.sampled_from(["&&", "||"]), st.lists(inner, min_size=2, max_size=3))
    ),
    max_leaves=12,
)


def quoted(draw, value: str) -> str:
    quotes = [quote for quote in "'\"" if quote not in value]
    quote = draw(st.sampled_from(quotes))
    return f"{quote}{value}{quote}"


def written(draw, tree) -> str:
    """The tree as text, every part in parentheses, with spaces where they may be."""

    def space() -> str:
        return draw(spaces)

    match tree:
        case (("all" | "global") as name,):
            return f"{name}({space()})"
        case ("has", label):
            return f"has({space()}{label}{space()})"
        case (("in" | "not in") as name, label, several):
            items = f"{space()},{space()}".join(quoted(draw, value) for value in several)
            comma = "," if items and draw(st.booleans()) else ""
            name = name.replace(" ", space())
            return f"{label} {name}{space()}{{{space()}{items}{comma}{space()}}}"
        case ("!", operand):
            return f"!{space()}({written(draw, operand)})"
        case (("&&" | "||") as name, operands):
            return f"{space()}{name}{space()}".join(f"({written(draw, o)})" for o in operands)
        case (name, label, value):
            name = name.replace(" ", space())
            return f"{space()}{label} {name}{space()}{quoted(draw, value)}{space()}"
    raise AssertionError(tree)


COMPARES = {
    "==": lambda value, wanted: value == wanted,
    "contains": lambda value, wanted: value.find(wanted) >= 0,
    "starts with": lambda value, wanted: value[: len(wanted)] == wanted,
    "ends with": lambda value, wanted: value[::-1][: len(wanted)] == wanted[::-1],
}


def holds(tree, labels: dict[str, str]) -> bool:
    match tree:
        case ("has", label):
            return label in labels
        case ("!=", label, value):
            return not holds(("==", label, value), labels)
        case ("in", label, several):
            return any(holds(("==", label, value), labels) for value in several)
        case ("not in", label, several):
            return not holds(("in", label, several), labels)
        case ("!", operand):
            return not holds(operand, labels)
        case ("&&", operands):
            return all(holds(operand, labels) for operand in operands)
        case ("||", operands):
            return any(holds(operand, labels) for operand in operands)
        case (name, label, value):
            return label in labels and COMPARES[name](labels[label], value)
    return True


@given(tree=trees, data=st.data(), maps=st.lists(label_maps, max_size=5))
def test_a_selector_selects_what_its_tree_says(tree, data, maps):
    selector = parse(written(data.draw, tree))

    assert [selector.matches(one) for one in maps] == [holds(tree, one) for one in maps]


@given(tree=trees, data=st.data())
def test_a_selector_that_is_written_is_read_as_the_same(tree, data):
    selector = parse(written(data.draw, tree))

    assert parse(str(selector)) == selector
    assert str(parse(str(selector))) == str(selector)


symbols = st.sampled_from([*"!()'\"{}, \t\n", "&&", "||", "&", "==", "!="])
words = st.sampled_from(
    ["in", "not in", "contains", "starts with", "ends with", "has(", "all()", "a", "has(a)", "'x'"]
)


@given(st.text(max_size=30) | st.lists(symbols | words, max_size=12).map("".join))
def test_any_text_is_a_selector_or_is_refused(text):
    with contextlib.suppress(Invalid):  # anything else is raised as it is
        selector = parse(text)
        assert parse(str(selector)) == selector
        assert selector.matches({}) in (True, False)
