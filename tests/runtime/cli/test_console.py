"""What a user sees of a long run in a log file."""

import os
import subprocess
import sys

import pytest

from wmh_runtime.cli import console


def test_a_log_file_gets_a_line_now_and_then_instead_of_a_bar(capsys, monkeypatch):
    seconds = iter(range(0, 1000, 25))  # each look at the clock is 25 s later
    monkeypatch.setattr(console.time, "monotonic", lambda: next(seconds))
    with console.progress_bar() as bar:
        hidden = bar.add_task("unseen", total=3, visible=False)
        task = bar.add_task("segmenting", total=5)
        bar.advance(hidden)
        for _ in range(5):
            bar.advance(task)  # at 50 s, 75 s, 100 s, 125 s and 150 s
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["segmenting: 2 of 5", "segmenting: 5 of 5"]


def test_a_hidden_task_is_not_reported(capsys, monkeypatch):
    monkeypatch.setattr(console, "_LINE_EVERY_S", 0.0)
    with console.progress_bar() as bar:
        task = bar.add_task("preparing", total=3, visible=False)
        bar.advance(task)
        assert capsys.readouterr().err == ""
        bar.update(task, completed=2, total=3, visible=True)
        assert capsys.readouterr().err.startswith("preparing: 2 of 3")


PRINTING = """
import sys
from pathlib import Path
from wmh_runtime.cli import console
app = console.command_line("Print, then write a file.")
@app.command()
def work(result: Path):
    for print_one in (console.print_line, console.print_warning, console.print_error):
        for _ in range(3000):
            print_one("a line of results, longer than a pipe holds if it is repeated often enough")
    with console.progress_bar() as bar:
        bar.advance(bar.add_task("working", total=1))
    result.write_text("done")
    sys.exit(1)
console.run(app)
"""


@pytest.mark.parametrize("closed", [("stdout",), ("stderr",), ("stdout", "stderr")])
def test_a_command_whose_output_nobody_reads_goes_on(tmp_path, closed):
    # As `wmh-infer … | head -1` does: the reader ends after the first line.
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    program = [sys.executable, "-c", PRINTING, tmp_path / "result"]
    with subprocess.Popen(program, **pipes, env=os.environ | {"COLUMNS": "200"}) as process:
        for name in closed:
            getattr(process, name).close()
        others = [getattr(process, name) for name in pipes if name not in closed]
        said = b"".join(stream.read() for stream in others)
    assert process.returncode == 1
    assert (tmp_path / "result").read_text() == "done"
    assert b"Broken" not in said
    assert b"Traceback" not in said


def test_ctrl_c_while_loading_is_reported_in_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "slow_to_load.py").write_text("raise KeyboardInterrupt\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit) as stop:
        console.load_module("slow_to_load", extras="")
    assert stop.value.code == 130
    assert "interrupted; nothing was begun" in capsys.readouterr().err


def test_an_error_of_the_system_is_one_line(run_command, tmp_path):
    app = console.command_line("Open.")

    @app.command()
    def look():
        raise PermissionError(13, "Permission denied", str(tmp_path))

    status, _, errors = run_command(lambda: console.run(app))
    assert status == 2
    assert errors == (
        f"error: {tmp_path}: cannot be used (Permission denied). Check the permissions, and that no"
        " other program has the file open.\n"
    )


def test_ctrl_c_without_a_handler_is_reported_in_one_line(run_command):
    app = console.command_line("Wait.")

    @app.command()
    def wait():
        raise KeyboardInterrupt

    status, _, errors = run_command(lambda: console.run(app))
    assert (status, errors) == (130, "error: interrupted.\n")
