"""Every Python block of the README runs, in order, as a newcomer would paste them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"(<!-- needs the hub -->\n)?```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.java
@pytest.mark.timeout(900)
def test_the_readme_runs_as_it_stands(tmp_path):
    for number, (_, code) in enumerate(BLOCKS):
        compile(code, f"README block {number}", "exec")
    offline = [code for hub, code in BLOCKS if not hub]
    assert len(offline) == len(BLOCKS) - 1 >= 7
    checks = ['assert len(plain.search("sort"))', 'assert len(safe.search("a/b (c): sort"))']
    (tmp_path / "readme.py").write_text("\n".join([*offline, *checks]), encoding="utf-8")
    done = subprocess.run([sys.executable, "readme.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "parameters merged" in done.stdout and "Bonferroni" in done.stdout
    assert (tmp_path / "merged" / "model.safetensors").is_file()
