"""What is built and shipped: the wheel, the source distribution and their metadata."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    # Without isolation: the build back end is installed already and nothing is downloaded.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, _ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def wheel(distributions: Path) -> zipfile.Path:
    """The inside of the wheel."""
    return zipfile.Path(next(distributions.glob("*.whl")))


@pytest.fixture
def metadata(wheel: zipfile.Path) -> Message:
    """The metadata of the wheel."""
    folder = next(path for path in wheel.iterdir() if path.name.endswith(".dist-info"))
    return Parser().parsestr((folder / "METADATA").read_text())


def _files(top: Path, pattern: str) -> dict[str, bytes]:
    return {
        path.relative_to(top).as_posix(): path.read_bytes()
        for path in top.rglob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_lua_of_the_checkout(distributions: Path, tmp_path: Path) -> None:
    """Every script is in the wheel as package data, byte for byte, and no other."""
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as archive:
        archive.extractall(tmp_path)
    scripts = _files(_ROOT / "lua", "*")
    assert scripts
    assert _files(tmp_path / "bb5_breaker" / "_lua", "*") == scripts


def test_the_wheel_holds_all_of_the_package_and_nothing_else(
    distributions: Path, tmp_path: Path
) -> None:
    """Modules and py.typed as in the checkout; no tests, no stray top-level package."""
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as archive:
        archive.extractall(tmp_path)
    assert {path.name for path in tmp_path.iterdir() if path.suffix != ".dist-info"} == {
        "bb5_breaker"
    }
    modules = _files(_ROOT / "bb5_breaker", "*.py")
    assert modules
    assert _files(tmp_path / "bb5_breaker", "*.py") == modules
    assert (tmp_path / "bb5_breaker" / "py.typed").is_file()


def test_the_source_distribution_holds_what_it_takes_to_test(distributions: Path) -> None:
    """Someone who repackages the project has the tests, the scripts, the Lua and the licence."""
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "LICENSE",
        "README.md",
        "pyproject.toml",
        ".luacheckrc",
        "scripts/_environment.sh",
        "scripts/test",
        "tests/conftest.py",
        "tests/unit/test_packaging.py",
    } <= names
    assert {f"lua/{name}" for name in _files(_ROOT / "lua", "*")} <= names
    assert not [name for name in names if name.startswith((".venv", "dist", ".git/"))]


def test_a_plain_install_brings_two_packages(metadata: Message) -> None:
    """Only redis and msgpack are needed; all else comes with an extra that was asked for."""
    requirements = metadata.get_all("Requires-Dist", [])
    plain = [line for line in requirements if "extra ==" not in line]
    assert plain == ["msgpack>=1.2.1", "redis>=5.2"]


def test_the_extras_are_those_promised(metadata: Message) -> None:
    """The names of the extras are part of the interface."""
    promised = {"all", "bench", "cli", "dev", "embedded", "servers", "test"}
    assert set(metadata.get_all("Provides-Extra", [])) == promised


def test_the_package_can_be_imported_from_the_wheel(distributions: Path, tmp_path: Path) -> None:
    """The built package works away from the checkout."""
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as archive:
        archive.extractall(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import bb5_breaker as b; print(b)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert str(tmp_path) in done.stdout
