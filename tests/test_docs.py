"""The documentation is run: its Python, then its commands, in one folder; the tutorial by itself."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.given import SEED_REPORT

ROOT = Path(__file__).resolve().parents[1]
BIN = str(Path(sys.executable).parent)
DOCS = sorted((ROOT / "docs").glob("*.md"))

# Of these every Python block and every command runs, in this order. Other tests run ci, channels and pathway.
RUN = ("record", "../README", "read", "analyse", "alerts", "importing", "fleet", "maintenance", "promises")
PAGES = {name: (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in RUN}
README = PAGES["../README"]

INSTALLS = re.compile(r"^pip install .*$", re.MULTILINE)  # run by .ci/run, in fresh environments
EXITS = re.compile(r"# exits with (\d)$")


def blocks(language: str, text: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PERFDB_")}
    environment |= {"PATH": BIN + os.pathsep + environment.get("PATH", ""), "PYTHONUTF8": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


# Commands of one program, one after the other: to start one takes longer than most take to answer.
COMMANDS = """
import json, sys
from perfdb.cli import main
for line, arguments, wanted in json.loads(sys.argv[1]):
    print("$", line, file=sys.stderr)
    try:
        main(arguments)
    except SystemExit as exit:
        if (exit.code or 0) != wanted:
            sys.exit(f"{line} exited with {exit.code}")
"""


def run_commands(block: str, folder: Path) -> None:
    ours: list[tuple[str, list[str], int]] = []

    def run_ours() -> None:
        done = run([sys.executable, "-c", COMMANDS, json.dumps(ours)], folder)
        assert done.returncode == 0, f"{done.stdout[-2_000:]}\n{done.stderr[-2_000:]}"
        ours.clear()

    for line in block.splitlines():
        command = shlex.split(line, comments=True)
        if not command or INSTALLS.match(line):
            continue
        wanted = int(found[1]) if (found := EXITS.search(line)) else 0
        if command[0] == "perfdb":
            ours.append((line, command[1:], wanted))
            continue
        run_ours()
        done = run(command, folder)
        assert done.returncode == wanted, f"{line}\n{done.stdout}\n{done.stderr}"
    run_ours()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the Python of the pages has run once."""
    folder = tmp_path_factory.mktemp("docs")
    done = run(
        [
            sys.executable,
            "-c",
            "\n".join(block for page in PAGES.values() for block in blocks("python", page)),
        ],
        folder,
    )
    assert done.returncode == 0, done.stderr
    (folder / "old_reports").mkdir()
    (folder / "old_reports" / "performance_report_20250730_143022.json").write_text(json.dumps(SEED_REPORT))
    return folder


def test_the_python_snippets_record_what_they_say(folder: Path) -> None:
    rows = json.loads(run(["perfdb", "sessions", "--json"], folder).stdout)["rows"]
    assert [row["pipeline"] for row in rows] == ["nightly-etl", "design", "nightly-etl"]
    assert rows[0]["attributes"]["customer"] == "acme"
    assert rows[1]["product_count"] == 5


def test_every_command_runs(folder: Path) -> None:
    run_commands("\n".join(block for page in PAGES.values() for block in blocks("sh", page)), folder)


def test_the_tutorial_goes_as_it_says(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    for language, title, block in re.findall(
        r'^```(\w+)(?: title="(.*?)")?\n(.*?)^```', text, re.DOTALL | re.MULTILINE
    ):
        if title:
            (tmp_path / title).write_text(block)
        elif language == "python":
            done = run([sys.executable, "-c", block], tmp_path)
            assert done.returncode == 0, done.stderr
        elif language == "sh":
            run_commands(block, tmp_path)
    alerts = json.loads(run(["perfdb", "alerts", "--state", "resolved", "--json"], tmp_path).stdout)["rows"]
    assert {"deduplicate"} == {alert["step_name"] for alert in alerts if alert["severity"] == "critical"}


def test_the_commands_that_install_are_run_by_ci() -> None:
    lines = [line.split("#")[0].strip() for block in blocks("sh", README) for line in block.splitlines()]
    install_lines = [line for line in lines if INSTALLS.match(line)]
    assert len(install_lines) == 2
    script = (ROOT / ".ci" / "run").read_text()
    for line in install_lines:
        extra, then = re.fullmatch(r"pip install -e '\.\[(\w+)\]' && (.+)", line).groups()  # type: ignore[union-attr]
        assert re.search(rf"pip install -q -e ['\"]\S*\[{extra}\]['\"] && {then}$", script, re.MULTILINE), (
            line
        )


@pytest.mark.parametrize("page", ["alerts", "settings", "maintenance", "channels", "fleet"])
def test_the_settings_are_understood(page: str, tmp_path: Path) -> None:
    for block in blocks("toml", (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")):
        (tmp_path / "perfdb.toml").write_text(block)
        tomllib.loads(block)
        done = run([sys.executable, "-c", "import perfdb.settings as s; print(s.load().fsync)"], tmp_path)
        assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS], ids=lambda page: page.stem)
def test_links_and_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        if not target.startswith("reference/"):  # made from the code
            assert (page.parent / target).is_file(), target
    for target in re.findall(r"`((?:notebooks|benchmarks|docs)/[\w/.-]+\.\w+)`", text):
        assert (ROOT / target).is_file(), target


@pytest.mark.skipif(not Path("/usr/bin/chromium").exists(), reason="needs Debian's chromium")
def test_one_script_takes_every_picture(tmp_path: Path) -> None:
    done = run([sys.executable, str(ROOT / "docs" / "pictures.py"), str(tmp_path)], tmp_path)
    assert done.returncode == 0, done.stderr
    taken = {path.name for path in tmp_path.iterdir()}
    assert taken == {path.name for path in (ROOT / "docs" / "pictures").iterdir()}
    text = "".join(page.read_text(encoding="utf-8") for page in [ROOT / "README.md", *DOCS])
    assert taken == set(re.findall(r"pictures/([\w-]+\.\w+)", text))


@pytest.mark.skipif(not Path("/usr/bin/chromium").exists(), reason="needs Debian's chromium")
def test_the_site_can_be_searched_from_its_folder_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="needs perfdb[docs]")
    from playwright.sync_api import sync_playwright

    done = run(
        [sys.executable, "-m", "mkdocs", "build", "-q", "-f", str(ROOT / "mkdocs.yml"), "-d", str(tmp_path)],
        ROOT,
    )
    assert done.returncode == 0, done.stderr
    asked = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "reference" / "rules.html").as_uri())
        page.fill("input[name=query]", "bottlenecks")
        page.wait_for_selector(".md-search-result__item")
        browser.close()
    assert not [url for url in asked if not url.startswith("file:")]


def test_every_page_is_in_the_navigation() -> None:
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in DOCS:
        assert f": {page.name}\n" in site, page.name


def test_the_reference_is_about_everything(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import reference as r; "
        "[print(place, len(page())) for place, page in r.PAGES.items()]"
    )
    done = run([sys.executable, "-c", code, str(ROOT / "docs")], tmp_path)
    assert done.returncode == 0, done.stderr  # a KeyError says what words.toml lacks
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for line in done.stdout.splitlines():
        assert f": {line.split()[0]}\n" in site
