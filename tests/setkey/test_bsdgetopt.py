"""getopt(3) as FreeBSD has it."""

import pytest

from ipsectools.commands.bsdgetopt import getopt


def read(words: list[str], letters: str = "ab:c", long_options: tuple[str, ...] = ()) -> tuple[list, list[str]]:
    argv = ["/usr/bin/prog", *words]
    options = getopt(argv, letters, long_options)
    return list(options), argv[options.index :]


@pytest.mark.parametrize(
    ("words", "options", "operands"),
    [
        ([], [], []),
        (["-a"], [("a", None)], []),
        (["-ac", "x"], [("a", None), ("c", None)], ["x"]),
        (["-abx", "-c"], [("a", None), ("b", "x"), ("c", None)], []),
        (["-b", "-c"], [("b", "-c")], []),
        (["-b", ""], [("b", "")], []),
        (["x", "-a"], [], ["x", "-a"]),
        (["-a", "--", "-c"], [("a", None)], ["-c"]),
        (["-", "-a"], [], ["-", "-a"]),
        (["", "-a"], [], ["", "-a"]),
    ],
)
def test_reads(words: list[str], options: list, operands: list[str]) -> None:
    assert read(words) == (options, operands)


@pytest.mark.parametrize(
    ("words", "options", "complaint"),
    [
        (["-x", "-a"], [("?", None), ("a", None)], "prog: illegal option -- x\n"),
        (["-axc"], [("a", None), ("?", None), ("c", None)], "prog: illegal option -- x\n"),
        (["-:"], [("?", None)], "prog: illegal option -- :\n"),
        (["-ab"], [("a", None), ("?", None)], "prog: option requires an argument -- b\n"),
        (["--a"], [("?", None), ("a", None)], "prog: illegal option -- -\n"),
    ],
)
def test_complains(words: list[str], options: list, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert read(words)[0] == options
    assert capsys.readouterr() == ("", complaint)


def test_long_options(capsys: pytest.CaptureFixture[str]) -> None:
    long_options = ("--json", "--libxo:")
    words = ["--json", "-a", "--libxo", "json", "--libxo=xml", "x"]
    assert read(words, long_options=long_options) == (
        [("--json", None), ("a", None), ("--libxo", "json"), ("--libxo", "xml")],
        ["x"],
    )
    assert read(["--libxo"], long_options=long_options)[0] == [("?", None)]
    assert capsys.readouterr().err == "prog: option requires an argument -- libxo\n"
    assert read(["--jso"], long_options=long_options)[0][0] == ("?", None)
