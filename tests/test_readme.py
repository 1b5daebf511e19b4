"""Every Python block of the README runs, in order, as a newcomer would paste them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pyterrier_taskarith.cli import main

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
BLOCKS = re.findall(r"(<!-- needs the hub -->\n)?```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
#: The queries that the README tunes, compares and ablates on.
QUERIES = re.compile(r'(\.topics\["\w+"\])\.head\(\d+\)')


@pytest.mark.slow
@pytest.mark.java
@pytest.mark.timeout(900)
def test_the_readme_runs_as_it_stands(tmp_path):
    for number, (_, code) in enumerate(BLOCKS):
        compile(code, f"README block {number}", "exec")
    offline = [code for hub, code in BLOCKS if not hub]
    assert len(offline) == len(BLOCKS) - 1 >= 7
    checks = ['assert len(plain.search("sort"))', 'assert len(safe.search("a/b (c): sort"))']
    code = "\n".join([*offline, *checks])
    code, counted = QUERIES.subn(r"\1.head(3)", code)  # fewer make it quick
    assert counted == 3
    (tmp_path / "readme.py").write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, "readme.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "parameters merged" in done.stdout and "Bonferroni" in done.stdout
    assert (tmp_path / "merged" / "model.safetensors").is_file()


@pytest.mark.parametrize("name", ["inspect", "merge"])
def test_the_commands_print_what_the_readme_says(name, tmp_path, monkeypatch, capsys):
    text = README.read_text(encoding="utf-8")
    command, = re.findall(rf"<!-- {name} command -->\n```bash\ntaskarith (.*?)\n```", text)
    shown, = re.findall(rf"<!-- {name} output -->\n```text\n(.*?)```", text, re.DOTALL)
    for role in ("ranker", "domain", "base"):
        (tmp_path / role).symlink_to(ROOT / "pyterrier_taskarith" / "demo" / "models" / role)
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in shown.splitlines() if line not in ("", "…")] == [
        line for line in printed if line in shown.splitlines() and line]


def test_each_promise_names_a_test_that_there_is():
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text(encoding="utf-8"))
    assert len(named) > 30
    missing = [name for path, name in named if f"def {name}(" not in (ROOT / path).read_text(encoding="utf-8")]
    assert not missing
