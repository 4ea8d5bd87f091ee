"""`gradflock plot` as people type it: the picture, read back, and what is said instead of one."""

import sys
import zlib
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.image import imread

from cli.curves import loss_curve, phase_shares, rate_curve, running_mean, thin
from cli.metrics_lines import parse_lines, unique_names
from coordinator.metrics_line import Line
from tests.cli.metrics_files import ended, rich_line, step_line, text_of, write_run

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("own_directory")]

LINES = [step_line(step) for step in range(1, 121)]


def svg_texts(path: Path) -> list[str]:
    root = ElementTree.parse(path).getroot()
    return [
        "".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")
    ]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object, code: int) -> str:
    """Give the only line that is said; no picture is made."""
    assert ended("plot", *arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    [line] = captured.err.splitlines()
    assert not [*Path().glob("*.png")]
    return line


# ---- pictures -----------------------------------------------------------------------------------


def test_a_png_has_the_size_of_a_page_and_the_colour_of_a_curve(tmp_path: Path) -> None:
    write_run(tmp_path / "one", *LINES)

    assert ended("plot", "one") == 0

    pixels = imread("loss.png")
    blue = np.asarray([0x00, 0x72, 0xB2]) / 255
    assert pixels.shape[:2] == (720, 1200)
    assert (np.abs(pixels[..., :3] - blue) < 0.02).all(axis=2).sum() > 300


def test_an_svg_names_runs_axes_and_units(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_run(tmp_path / name, *LINES, rich_line(121))

    assert ended("plot", "one", "two", "-o", "both.svg") == 0

    texts = svg_texts(tmp_path / "both.svg")
    assert {"one", "two", "held-out loss", "single steps", "updates applied"} <= {*texts}
    assert "loss (nats per position), mean of 2 steps" in texts


def test_without_smoothing_and_held_out_losses_the_legend_has_neither(tmp_path: Path) -> None:
    write_run(tmp_path / "one", *LINES)

    assert ended("plot", "one", "-o", "one.svg", "--smooth", "1") == 0

    texts = svg_texts(tmp_path / "one.svg")
    assert "loss (nats per position)" in texts
    assert not {"held-out loss", "single steps"} & {*texts}


def test_runs_differ_in_colour_and_in_line(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_run(tmp_path / name, *LINES)

    assert ended("plot", "one", "two", "-o", "both.svg", "--smooth", "9") == 0

    text = (tmp_path / "both.svg").read_text().lower()
    assert "#0072b2" in text
    assert "#d55e00" in text
    assert text.count("stroke-dasharray") == 2, "the second run's, in the plot and in the legend"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--y", "rate"), {"documents/s, mean of 2 steps", "updates applied"}),
        (("--y", "rate", "--x", "seconds"), {"training time (s)"}),
        (("--x", "documents"), {"documents"}),
        (("--y", "phases"), {"share of the time", "compute", "adam", "one", "20%"}),
    ],
)
def test_other_quantities_and_axes_say_what_they_are(
    tmp_path: Path, arguments: tuple[str, ...], expected: set[str]
) -> None:
    write_run(tmp_path / "one", *(rich_line(step) for step in range(1, 121)))

    assert ended("plot", "one", "-o", "one.svg", *arguments) == 0

    assert expected <= {*svg_texts(tmp_path / "one.svg")}


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, kind: str) -> None:
    write_run(tmp_path / "one", *LINES, rich_line(121))

    for name in ("a", "b"):
        assert ended("plot", "one", "-o", f"{name}.{kind}") == 0

    first, second = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("a", "b"))
    assert first == second
    assert not [field for field in (b"dc:date", b"CreationDate", b"tEXt") if field in first]


def test_a_run_of_twenty_thousand_steps_is_a_small_picture(tmp_path: Path) -> None:
    noisy = (zlib.crc32(str(step).encode()) / 2**32 for step in range(1, 20_001))
    lines = (step_line(step, loss=loss) for step, loss in enumerate(noisy, 1))
    write_run(tmp_path / "long", *lines)

    assert ended("plot", "long", "-o", "long.svg") == 0

    assert (tmp_path / "long.svg").stat().st_size < 150_000


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("a$b$c", "a$b$c"),
        ("_hidden", "_hidden"),
        ("日本", "日本"),
        ("2026-" + "x" * 70 + "-64", "2026-" + "x" * 25 + " ... " + "x" * 27 + "-64"),
    ],
)
def test_a_run_may_have_any_name(tmp_path: Path, name: str, label: str) -> None:
    write_run(tmp_path / name, *LINES)

    assert ended("plot", name, "-o", "one.svg") == 0
    assert ended("plot", name) == 0

    assert label in svg_texts(tmp_path / "one.svg")


def test_the_newest_run_is_drawn_if_none_is_named(tmp_path: Path) -> None:
    (write_run(tmp_path / "runs" / "new", *LINES) / "checkpoints").mkdir()

    assert ended("plot", "-o", "newest.svg") == 0

    assert "new" in svg_texts(tmp_path / "newest.svg")


def test_a_single_step_is_drawn(tmp_path: Path) -> None:
    write_run(tmp_path / "one", rich_line(1))

    for quantity in ("loss", "rate", "phases"):
        assert ended("plot", "one", "-o", f"{quantity}.png", "--y", quantity) == 0


# ---- lines --------------------------------------------------------------------------------------


def test_a_line_that_is_still_being_written_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "one", *LINES)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 121, "lo')

    assert ended("plot", "one") == 0

    assert capsys.readouterr().err == "wrote loss.png: loss of one\n"


def test_damaged_lines_are_passed_over_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "one")
    (run / "metrics.jsonl").write_text(
        text_of(step_line(1)) + '{"step"\n[]\n{"step": 2}\n' + text_of(step_line(3))
    )

    assert ended("plot", "one") == 0

    said, _ = capsys.readouterr().err.splitlines()
    assert said == "passed over what is no line of a step — one/metrics.jsonl:2, and 2 more"


def test_the_first_line_of_a_step_counts_and_steps_are_in_order() -> None:
    text = text_of(step_line(2), step_line(1), step_line(2, loss=9.0))

    lines, damaged = parse_lines(text.encode())

    assert [(line.step, line.loss) for line in lines] == [(1, 3.0), (2, 2.5)]
    assert damaged == []


def test_a_held_out_loss_that_was_not_finite_is_no_mark() -> None:
    lines, _ = parse_lines(text_of(step_line(1, held_out_loss=None), rich_line(2)).encode())

    assert loss_curve("one", lines, "step", 1).marks == [(2.0, 2.625)]


def test_runs_are_named_after_as_much_of_their_paths_as_tells_them_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "b" / "other"]

    names = unique_names([*paths, tmp_path / "a" / ".." / "a" / "run"])

    assert names == dict(zip(paths, ["a/run", "b/run", "other"], strict=True))


# ---- curves -------------------------------------------------------------------------------------


def test_a_running_mean_is_taken_around_each_step() -> None:
    means = running_mean([6.0, 0.0, 3.0, 9.0], [1.0] * 4, 3)

    assert means == pytest.approx([3.0, 3.0, 4.0, 6.0])


def test_a_mean_rate_is_that_of_the_time_and_leaves_the_start_out() -> None:
    lines = [Line(1, 3.0, 64, 15.0), Line(2, 3.0, 60, 1.0), Line(3, 3.0, 60, 3.0)]

    curve = rate_curve("one", lines, "documents", 3)

    assert curve.raw == [(124.0, 60.0), (184.0, 20.0)]
    assert curve.points == [(124.0, 30.0), (184.0, 30.0)]


def test_the_rate_of_a_single_step_is_all_there_is() -> None:
    assert rate_curve("one", [Line(1, 3.0, 64, 2.0)], "step", 1).points == [(1.0, 32.0)]


def test_thinning_keeps_the_ends_and_every_peak() -> None:
    points = [(float(x), 0.0) for x in range(10_000)]
    points[777], points[5001] = (777.0, 9.0), (5001.0, -9.0)

    kept = thin(points, 100)

    assert len(kept) <= 100
    assert {points[0], points[777], points[5001], points[-1]} <= {*kept}
    assert kept == sorted(kept)


def test_shares_of_a_stretch_are_those_of_its_time() -> None:
    lines = [
        Line(1, 3.0, 64, 1.0),  # before there were phases
        Line(2, 3.0, 64, 1.0, phases={"compute": 3.0, "adam": 1.0}),
    ]

    shares = phase_shares("one", lines, "step")

    assert shares.xs == [2.0]
    assert shares.shares == {"compute": [0.75], "adam": [0.25]}


# ---- refusals -----------------------------------------------------------------------------------


def test_a_run_that_is_not_there_ends_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, "nowhere", code=2)

    assert line.startswith("gradflock: expected the directory of a run, got none — nowhere; ")


def test_a_directory_without_metrics_is_none_of_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()

    line = refusal(capsys, "empty", code=1)

    assert line.startswith("gradflock: expected metrics.jsonl, got none — empty; ")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "expected a line for each step, got none yet — one/metrics.jsonl; wait"),
        ('{"step": 1', "expected a line for each step, got none yet — one/metrics.jsonl; wait"),
        ("a\nb\n", "expected a JSON object for each step, got 2 that are none — one/metrics.jso"),
    ],
)
def test_metrics_without_a_whole_line_end_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, expected: str
) -> None:
    (write_run(tmp_path / "one") / "metrics.jsonl").write_text(content)

    assert expected in refusal(capsys, "one", code=1)


def test_phases_that_an_earlier_version_did_not_write_are_asked_for_in_vain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "old", *LINES)

    line = refusal(capsys, "old", "--y", "phases", code=1)

    assert line.startswith("gradflock: expected phases in the lines of a run, got none — old; ")


@pytest.mark.parametrize("name", ["loss.gif", "loss", "png"])
def test_another_kind_of_picture_ends_with_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    write_run(tmp_path / "one", *LINES)

    line = refusal(capsys, "one", "-o", name, code=2)

    assert f"expected a file that ends in .png, .svg or .pdf, got {name!r} — --output" in line


def test_without_matplotlib_one_line_says_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "one", *LINES)
    monkeypatch.delitem(sys.modules, "cli.figure", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    line = refusal(capsys, "one", code=1)

    assert line == (
        "gradflock: expected matplotlib, got no such package — gradflock plot;"
        " pip install 'gradflock[plot]'"
    )
