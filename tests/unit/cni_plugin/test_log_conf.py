import pytest

from cni_plugin.log_conf import DAY_S, MEGABYTE, LogConf, log_conf_of
from cni_plugin.stdin import Keys

PATH = "/var/log/calico/cni/cni.log"


def read(**document) -> LogConf | None:
    conf, mistakes = log_conf_of(Keys(document))
    assert mistakes == []
    return conf


def test_without_a_path_there_is_no_file():
    assert read() is None
    assert read(log_level="debug", log_file_path="") is None


def test_what_is_not_said_is_as_in_calico():
    assert read(log_file_path=PATH) == LogConf(PATH, "INFO", 100 << 20, 30 * 86400, 10)
    assert read(log_file_path=PATH, log_file_max_size=0, log_file_max_count=0) == LogConf(PATH)


def test_everything_can_be_said():
    conf = read(
        log_file_path=PATH,
        log_level="Debug",
        log_file_max_size=1,
        log_file_max_age=2,
        log_file_max_count=3,
    )

    assert conf == LogConf(PATH, "DEBUG", MEGABYTE, 2 * DAY_S, 3)


@pytest.mark.parametrize(
    ("word", "level"),
    [("ERROR", "ERROR"), ("warning", "INFO"), ("", "INFO"), ("x", "INFO")],
)
def test_a_level_that_calico_does_not_know_means_info(word, level):
    conf = read(log_file_path=PATH, log_level=word)

    assert conf is not None
    assert conf.level == level


@pytest.mark.parametrize(
    ("more", "mistake"),
    [
        ({"log_file_max_size": "1"}, "log_file_max_size: '1' is not a number"),
        ({"log_file_max_age": -1}, "log_file_max_age: -1 is negative"),
        ({"log_file_max_count": True}, "log_file_max_count: True is not a number"),
        ({"log_level": 3}, "log_level: 3 is not a string"),
    ],
)
def test_a_wrong_value_is_told_and_taken_for_absent(more, mistake):
    assert log_conf_of(Keys({"log_file_path": PATH, **more})) == (LogConf(PATH), [mistake])


@pytest.mark.parametrize("path", ["cni.log", "/var/log/", "/a\0b", 7])
def test_what_is_no_path_is_told_and_means_no_file(path):
    conf, [mistake] = log_conf_of(Keys({"log_file_path": path}))

    assert conf is None
    assert mistake.startswith("log_file_path: ")
