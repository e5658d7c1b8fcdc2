"""What a user sees of a long run in a log file."""

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
