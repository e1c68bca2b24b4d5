"""The command line: help, mistakes, exit statuses, and what happens before anything is installed."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from course import commands
from course.__main__ import too_old
from course.commands import doctor, environment, lab
from course.commands import test as test_command
from course.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def course(*arguments: str, python: tuple[str, ...] = (sys.executable,)) -> subprocess.CompletedProcess[str]:
    """Run `python -m course ...` as a user does."""
    return subprocess.run([*python, "-m", "course", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch):
    """Put a command of our own behind the name `doctor`."""

    def install(run, configure=lambda parser: None, **more) -> None:
        module = types.ModuleType("course.commands.doctor")
        module.SUMMARY, module.run, module.configure = "a fake", run, configure
        vars(module).update(more)
        monkeypatch.setitem(sys.modules, "course.commands.doctor", module)

    return install


# --- help --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_lists_every_command_with_its_summary(arguments: tuple[str, ...]) -> None:
    answer = course(*arguments)
    assert answer.returncode == 0
    for name in commands.available():
        assert f"  {name} " in answer.stdout
        assert commands.summary(name) in answer.stdout


@pytest.mark.parametrize("name", commands.available())
def test_every_command_has_a_one_line_summary(name: str) -> None:
    assert 10 < len(commands.summary(name)) < 110
    assert "\n" not in commands.summary(name)


def test_every_command_module_is_in_the_table() -> None:
    with_summary = {
        path.stem for path in Path(commands.__file__).parent.glob("*.py") if "\nSUMMARY = " in path.read_text()
    }
    assert with_summary == {commands.module_file(name).stem for name in commands.available()}


def test_help_imports_no_command() -> None:
    code = "import sys; from course.commands import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stderr.split()
    assert {name for name in loaded if name.startswith("course.commands.")} == set()
    assert not {"torch", "numpy"} & set(loaded)


def test_help_needs_nothing_installed() -> None:
    answer = course("lab", "--help", python=(sys.executable, "-S", "-E"))  # -S: no installed packages
    assert answer.returncode == 0, answer.stderr
    assert "--port" in answer.stdout


# --- mistakes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("typed", "meant"), [("labb", "lab"), ("tests", "test"), ("docter", "doctor")])
def test_an_unknown_command_names_the_nearest(typed: str, meant: str) -> None:
    answer = course(typed)
    assert answer.returncode == 2
    assert one_line(answer.stderr)
    assert f"'{typed}'" in answer.stderr
    assert f"'{meant}'" in answer.stderr


def test_an_unknown_option_is_one_line() -> None:
    answer = course("lab", "--prt", "80")
    assert answer.returncode == 2
    assert one_line(answer.stderr)
    assert "--prt" in answer.stderr
    assert "lab --help" in answer.stderr


def test_a_users_mistake_is_one_line_without_traceback(command, capsys: pytest.CaptureFixture[str]) -> None:
    def run(args: argparse.Namespace) -> int:
        raise UserError("trace.csv, line 3: output_tokens is -4;\n  give a positive number")

    command(run)
    assert commands.main(["doctor"]) == 2
    said = capsys.readouterr().err
    assert said == "course: trace.csv, line 3: output_tokens is -4; give a positive number\n"


def test_a_warning_is_one_line(tmp_path: Path) -> None:
    header = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
    (tmp_path / "burst.csv").write_text(f"{header}\n5,GPT-4,10,0,10,API log\n7,GPT-4,3,4,7,API log\n")
    answer = course("simulate", "simdistserve-colocated", "--set", f"workload.trace={tmp_path / 'burst.csv'}")
    assert answer.returncode == 0, answer.stderr
    said = f"course: {tmp_path / 'burst.csv'}: 1 of 2 requests failed (0 tokens) and are left out\n"
    assert answer.stderr == said


def test_our_own_faults_are_not_hidden(command) -> None:
    command(lambda args: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        commands.main(["doctor"])


def test_a_missing_package_is_named_with_the_remedy(command, capsys: pytest.CaptureFixture[str]) -> None:
    def run(args: argparse.Namespace) -> int:
        import no_such_package  # noqa: F401

        return 0

    command(run)
    assert commands.main(["doctor"]) == 2
    said = capsys.readouterr().err
    assert one_line(said)
    assert "no_such_package" in said
    assert "make lab" in said


@pytest.mark.parametrize("status", [0, 1, 3])
def test_the_exit_status_is_the_commands(command, status: int) -> None:
    command(lambda args: status)
    assert commands.main(["doctor"]) == status


def test_ctrl_c_is_one_line(command, capsys: pytest.CaptureFixture[str]) -> None:
    def run(args: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    command(run)
    assert commands.main(["doctor"]) == 130
    assert one_line(capsys.readouterr().err)


@pytest.mark.skipif(os.name == "nt", reason="pipes break differently there")
def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    code = (
        "import sys, types; from course import commands\n"
        "fake = types.ModuleType('fake'); fake.SUMMARY = ''; fake.configure = lambda parser: None\n"
        "fake.run = lambda args: print('x' * 10**6)\n"
        "sys.modules['course.commands.doctor'] = fake\n"
        "sys.exit(commands.main(['doctor']))"
    )
    writer = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stderr is not None
    writer.stdout.read(10)
    writer.stdout.close()
    assert writer.stderr.read() == b""
    assert writer.wait(timeout=30) == 141
    writer.stderr.close()


def test_unknown_arguments_pass_on_only_where_a_command_says_so(command) -> None:
    seen = []
    command(lambda args: seen.append(args.rest), PASSES_ON=True)
    assert commands.main(["doctor", "-k", "pool", "--lf", "tests/test_cli.py"]) == 0
    assert seen == [["-k", "pool", "--lf", "tests/test_cli.py"]]


def test_what_needs_torch_goes_on_inside_the_environment(
    command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command(lambda args: 0)
    became: list[list[str]] = []
    monkeypatch.setattr(commands, "find_spec", lambda name: None)
    monkeypatch.setattr(environment, "become", lambda command, env: became.append(command))
    monkeypatch.setattr(environment.Environment, "folder", tmp_path)
    assert commands.main(["doctor", "--seed", "1"]) == 2  # there is no .venv: it runs here, and knows no --seed
    assert became == []
    python = tmp_path / "bin" / "python"
    monkeypatch.setattr(environment.Environment, "python", python)
    python.parent.mkdir()
    python.touch()
    commands.main(["doctor", "--seed", "1"])
    assert became == [[str(python), "-m", "course", "doctor", "--seed", "1"]]


def one_line(text: str) -> bool:
    return "Traceback" not in text and len(text.strip().splitlines()) == 1


# --- an old Python -----------------------------------------------------------------------------------


def test_an_old_python_is_told_which_to_use(tmp_path: Path) -> None:
    alone = too_old((3, 9, 2), "python3", str(tmp_path), str(tmp_path))
    assert "3.11 or newer" in alone
    assert "3.9.2" in alone
    assert "Install one" in alone
    (tmp_path / "python3.12").touch()
    assert "make lab PYTHON=python3.12" in too_old((3, 9, 2), "python3", "elsewhere", str(tmp_path))
    (tmp_path / "pyvenv.cfg").touch()
    assert f"rm -r {tmp_path}" in too_old((3, 9, 2), "python3", str(tmp_path), "")


def test_what_an_old_python_reads_first_is_plain() -> None:
    """Annotations, f-strings and non-ASCII text would end in a SyntaxError before the sentence appears."""
    import ast

    for name in ("__init__.py", "__main__.py"):
        text = (ROOT / "course" / name).read_bytes()
        assert text.isascii(), f"course/{name} must be ASCII: Python 2 reads it"
        for node in ast.walk(ast.parse(text)):
            assert not isinstance(node, (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.Match)), ast.dump(node)
            if isinstance(node, ast.FunctionDef):
                assert node.returns is None
                assert all(argument.annotation is None for argument in node.args.args)


# --- lab ---------------------------------------------------------------------------------------------


def listening() -> socket.socket:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    return taken


def test_a_taken_port_that_was_asked_for_is_named() -> None:
    with listening() as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is taken"):
            lab.choose_port(port)
    assert lab.choose_port(port) == port


def test_a_taken_usual_port_gives_way_to_the_next(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lab, "is_free", lambda port: port == 8890)
    assert lab.choose_port(None) == 8890
    assert "Port 8888 is taken; using 8890" in capsys.readouterr().out
    monkeypatch.setattr(lab, "is_free", lambda port: False)
    with pytest.raises(UserError, match="--port"):
        lab.choose_port(None)


@pytest.mark.parametrize("port", [0, -1, 70000])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(UserError, match="not a port"):
        lab.choose_port(port)


def test_lab_starts_answers_and_stops_at_one_ctrl_c(tmp_path: Path) -> None:
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed")
    from http.client import HTTPConnection

    with listening() as probe:
        port = probe.getsockname()[1]
    folders = {f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    command = [sys.executable, "-m", "course", "lab", "--here", "--no-browser", "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **folders}, stdout=log, stderr=log)
    try:
        status = None
        for _ in range(300):
            try:
                client = HTTPConnection("127.0.0.1", port, timeout=10)
                client.request("GET", "/lab")
                status = client.getresponse().status
                break
            except ConnectionError:
                assert server.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.2)
            finally:
                client.close()
        assert status in (302, 403), "without its token the lab must let nobody in"
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=20) == 0, (tmp_path / "log").read_text()
    finally:
        server.kill()
        server.wait()


# --- test --------------------------------------------------------------------------------------------


def test_a_selection_of_tests_runs_as_given() -> None:
    assert test_command.pytest_arguments(["-k", "pool"]) == ["-k", "pool"]


def test_the_tests_of_a_lesson_run_on_one_worker(tmp_path: Path) -> None:
    test = tmp_path / "test_lessons.py"
    lessons = [f"{i:02d}_lesson.ipynb" for i in range(8)]
    test.write_text(
        f"import os, pathlib, pytest\nlessons = {lessons}\n"
        "def note(lesson): pathlib.Path(f'{lesson}.{os.getpid()}').touch()\n"
        "@pytest.mark.parametrize('lesson', lessons)\ndef test_it(lesson): note(lesson)\n"
        "@pytest.mark.parametrize('lesson', lessons)\ndef test_more(lesson): note(lesson)\n"
    )
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    options = [*test_command.pytest_arguments([]), "-q", "-p", "xdist", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, str(test)]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True)
    assert done.returncode == 0, done.stdout
    workers = sorted(file.name.partition(".ipynb.")[0] for file in tmp_path.glob("*.ipynb.*"))
    assert workers == [lesson.removesuffix(".ipynb") for lesson in lessons]


def test_the_exit_status_of_pytest_passes_through(tmp_path: Path) -> None:
    (tmp_path / "test_red.py").write_text("def test_red(): assert False")
    answer = course("test", "--here", str(tmp_path), "-p", "no:cacheprovider", "-p", "no:nbval")
    assert answer.returncode == 1
    assert "1 failed" in answer.stdout


# --- doctor ------------------------------------------------------------------------------------------


def test_doctor_reports_and_never_fails() -> None:
    answer = course("doctor")
    assert answer.returncode == 0, answer.stderr
    for fact in ("cores", "memory", "disk", "Python", "torch", "transformers", "jupyterlab", "threads", "Chromium"):
        assert f"\n{fact} " in answer.stdout


def test_doctor_works_before_anything_is_installed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "installed", lambda package: None)
    assert doctor.run(argparse.Namespace()) == 0
    said = " ".join(capsys.readouterr().out.split())  # the advice is wrapped to the window
    assert "unknown until torch is installed" in said
    assert "make lab" in said


def test_doctor_gives_reasons_and_remedies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "usable_cores", lambda: 1)
    monkeypatch.setattr(doctor, "find_chromium", lambda: None)
    monkeypatch.setattr(doctor, "free_disk", lambda: 10**8)
    monkeypatch.setattr(doctor, "memory", lambda: (4 * 2**30, 2**30))
    said = " ".join(doctor.advice({"sse2"}, {"device": "CPU (DEFAULT code in torch)"}))
    for sign in ("no GPU", "One core", "AVX2", "bf16", "memory", "disk", "Chromium"):
        assert sign in said
    assert "no GPU" not in " ".join(doctor.advice({"avx2"}, {"device": "NVIDIA H200, 139 GiB"}))


def test_a_chromium_named_by_the_user_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    browser = tmp_path / "my-chromium"
    browser.touch(mode=0o755)
    monkeypatch.setenv("CHROMIUM", str(browser))
    assert doctor.find_chromium() == str(browser)
    monkeypatch.setenv("CHROMIUM", str(tmp_path / "gone"))
    assert doctor.find_chromium() is None
