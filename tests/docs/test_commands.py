"""Every command on a page, and in every --help, does what the page says.

They are run on a node of a lab, in the order of their pages; those that only look at the same time.
What cannot be run here is listed in ``commands.py`` with the reason.
"""

import os
import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import pytest

from ocicatctl.__main__ import ocicatctl
from ocicatctl.lab.lab import Lab
from tests.docs import quick, stages
from tests.docs.commands import NOT_HERE, RUN, missing_of_the_tree, programs, why_not_here
from tests.docs.pages import Block, Example, blocks, inline, manifests
from tests.docs.shapes import differences
from tests.docs.world import World, lay_out

NODES = 3
AT_ONCE = 4

BLOCKS = blocks(RUN | NOT_HERE.keys())
EXAMPLES = [example for block in BLOCKS for example in block.examples]

# What changes nothing: such blocks are run at the same time.
_LOOKS = re.compile(
    r"ocicatctl (doctor|get|routes|topology|node status|lab (status|topology|exec)"
    r"|ipam (show|explain|history|check(?!.*--repair( |$)(?!--dry-run))))\b"
)


def is_run(example: Example) -> bool:
    try:
        return why_not_here(example.command) is None
    except KeyError:
        return False  # a test says so


def only_looks(block: Block) -> bool:
    return not block.files and all(
        _LOOKS.match(e.command) and stages.stage_of(e) is None for e in block.examples
    )


RUNNING = [
    Block(some, block.files)
    for block in BLOCKS
    if (some := tuple(example for example in block.examples if is_run(example)))
]
LOOKING = {example for block in RUNNING if only_looks(block) for example in block.examples}
CHANGING = [block for block in RUNNING if not only_looks(block)]


def name_of(block: Block) -> str:
    return f"{block}-{block.examples[0].command}"


# ---- without running anything ------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e}-{e.command}")
def test_every_command_is_run_or_there_is_a_reason(example):
    try:
        reason = why_not_here(example.command)
    except KeyError as error:
        pytest.fail(f"{example}: {error} stands neither in RUN nor in NOT_HERE of commands.py")

    assert reason is None or missing_of_the_tree(example.command) == []


def test_no_reason_is_left_of_a_command_that_is_gone():
    commands = {example.command for example in EXAMPLES}

    named = {*stages.STATUS_1, *stages.OTHERWISE, *(command for command, _ in stages.STAGES)}
    assert named <= commands


@pytest.mark.parametrize("command", [*inline().values()], ids=[*inline()])
def test_a_command_within_a_sentence_exists_with_its_options(command):
    words = shlex.split(command)[1:]
    found: click.Command = ocicatctl
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        found = found.get_command(click.Context(found), name)
        assert found is not None, f"{name!r} is no command"

    some = [found]
    if isinstance(found, click.Group):  # what holds for all of its commands
        some += [command for name, command in found.commands.items()]
    known = {option for one in some for p in one.params for option in (*p.opts, *p.secondary_opts)}
    used = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    assert [option for option in used if option not in {*known, "--help"}] == []


def test_what_a_script_calls_is_found():
    text = "sudo ETCDCTL_API=3 etcdctl get / | grep x && cd /tmp; for f in *; do cat $f; done"

    assert [*programs(text)] == ["etcdctl", "grep", "cat"]
    assert [*programs("cat > x.yaml <<'EOF'\nrm: [a]\nEOF")] == ["cat"]
    assert [*programs("ocicatctl get \\\n  node  # helm")] == ["ocicatctl"]


# ---- in a lab ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    lab = Lab(f"d{os.getpid()}")
    with quick.running(tmp_path_factory.mktemp("programs")) as programs:
        try:
            lab.up(NODES)
            yield World(lab, tmp_path_factory.mktemp("world"), programs)
        finally:
            lab.down()


@pytest.fixture(scope="module")
def looks(world, tmp_path_factory):
    """What the commands printed that only look, all run at once."""
    directory = tmp_path_factory.mktemp("looks")
    lay_out(directory)
    lay_out(world.directory)
    calls = {(e.command, tuple(stages.settings_of(e).items())) for e in LOOKING}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = pool.map(lambda c: world.call(c[0], directory, **dict(c[1])), sorted(calls))
        return dict(zip(sorted(calls), done, strict=True))


def check(example: Example, done) -> None:
    said = f"{example}: $ {example.command}\n{done.stdout}{done.stderr}"
    assert done.returncode in stages.statuses_of(example), said
    printed = (done.stdout + done.stderr).splitlines()
    only_headings = example.command in stages.OTHERWISE
    missing = differences(example.output or (), printed, only_headings=only_headings)
    assert missing == [], said


@pytest.mark.parametrize(
    "example",
    sorted(LOOKING, key=lambda e: (str(e), e.command)),
    ids=lambda e: f"{e}-{e.command}",
)
def test_a_command_that_looks_shows_what_its_page_says(looks, example):
    check(example, looks[example.command, tuple(stages.settings_of(example).items())])


@pytest.mark.parametrize("block", CHANGING, ids=name_of)
def test_commands_that_change_something_do_what_their_page_says(world, block, tmp_path):
    lay_out(tmp_path)
    for name, content in block.files:
        (tmp_path / name).write_text(content)
    undo = []
    try:
        for example in block.examples:
            if stage := stages.stage_of(example):
                undo.append(stage(world))
            check(example, world.call(example.command, tmp_path, **stages.settings_of(example)))
    finally:
        for step in reversed(undo):
            step()
        world.restore()


@pytest.mark.parametrize("manifest", manifests().values(), ids=manifests())
def test_what_a_page_shows_as_yaml_may_be_applied(world, manifest, tmp_path):
    file = Path(tmp_path / "page.yaml")
    file.write_text(manifest)
    try:
        done = world.call("ocicatctl apply -f page.yaml", tmp_path)
    finally:
        world.restore()

    assert done.returncode == 0, done.stderr
