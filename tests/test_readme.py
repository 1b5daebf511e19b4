"""Every Python block of the README runs, in order, as a newcomer would paste them."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"(<!-- needs the hub -->\n)?```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.java
@pytest.mark.timeout(600)
def test_the_readme_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace = {}
    ran = 0
    for number, (hub, code) in enumerate(BLOCKS):
        compiled = compile(code, f"README block {number}", "exec")
        if not hub:
            exec(compiled, namespace)
            ran += 1
    assert ran == len(BLOCKS) - 1 >= 7
    printed = capsys.readouterr().out
    assert "parameters merged" in printed and "Bonferroni" in printed
    assert (tmp_path / "merged" / "model.safetensors").is_file()
    assert len(namespace["plain"].search("sort")) and len(namespace["safe"].search("a/b (c): sort"))
