from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST = 400
FOLDERS = ("pytest_injectivity", "scripts", "tests", "example_suites")


def test_no_file_is_too_long_to_be_read() -> None:
    """A file above this has two subjects (docs/architecture.md, rule 9)."""
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    lines = {str(file): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert len(lines) > len(FOLDERS)
    assert {} == {file: count for file, count in lines.items() if count > MOST}
