"""Which code a run came from: other changes are other code."""

import subprocess
from pathlib import Path

from training.code_version import UNKNOWN, code_version, commit_of


def git(folder: Path, *words: str) -> None:
    author = ["-c", "user.name=ada", "-c", "user.email=ada@example.org"]
    subprocess.run(["git", "-C", str(folder), *author, *words], check=True, capture_output=True)  # noqa: S607


def test_an_image_without_git_says_what_it_was_built_from(tmp_path: Path) -> None:
    folder = tmp_path / "training"
    folder.mkdir()
    (tmp_path / "COMMIT").write_text("0a1b2c\n")
    assert code_version(folder) == "0a1b2c"
    git(folder, "init")
    assert code_version(folder) == "0a1b2c"  # no commit yet
    (folder / "fit.py").write_text("rate = 0.1\n")
    git(folder, "add", "fit.py")
    git(folder, "commit", "-m", "a fit")
    assert len(code_version(folder)) == 40  # git knows better


def test_two_dirty_trees_are_not_the_same_code(tmp_path: Path) -> None:
    assert code_version(tmp_path) == UNKNOWN
    git(tmp_path, "init")
    file = tmp_path / "fit.py"
    file.write_text("rate = 0.1\n")
    git(tmp_path, "add", "fit.py")
    git(tmp_path, "commit", "-m", "a fit")
    clean = code_version(tmp_path)
    assert len(clean) == 40
    file.write_text("rate = 0.2\n")
    one = code_version(tmp_path)
    file.write_text("rate = 0.3\n")
    other = code_version(tmp_path)
    assert one.startswith(f"{clean}-dirty-")
    assert one != other
    assert commit_of(one) == commit_of(other) == clean
    file.write_text("rate = 0.2\n")
    assert code_version(tmp_path) == one
