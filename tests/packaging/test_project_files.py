"""Workflows, templates and hooks call what there is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.sites import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

yaml = pytest.importorskip("yaml")

GITHUB = CHECKOUT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FILES = [
    *WORKFLOWS,
    *(GITHUB / "ISSUE_TEMPLATE").glob("*.yml"),
    CHECKOUT / ".pre-commit-config.yaml",
]
DEV = (CHECKOUT / "tools/dev").read_text(encoding="utf-8")
PROJECT = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
GUIDE = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")

_CALL = re.compile(r"tools/dev ([a-z]+)([^\n`#|]*)")


def parsed(path: Path) -> dict[Any, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def commands_of(workflow: Path) -> list[str]:
    """What its steps run."""
    jobs = parsed(workflow)["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


def wrong_calls(text: str) -> list[str]:
    """Calls of tools/dev with a command or a path that is not there."""
    known = set(re.findall(r"^  ([a-z]+) .*  ", DEV, re.MULTILINE)) | {"help"}
    return [
        match[0]
        for match in _CALL.finditer(text)
        if match[1] not in known
        or any(
            word.startswith("tests/") and not (CHECKOUT / word).exists()
            for word in match[2].replace("--ignore=", "").split()
        )
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_is_yaml(path: Path) -> None:
    assert parsed(path)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_each_workflow_calls_commands_and_tests_that_there_are(workflow: Path) -> None:
    text = workflow.read_text(encoding="utf-8")
    assert wrong_calls(text) == []
    assert any("tools/dev" in command for command in commands_of(workflow))


def test_the_guides_name_commands_and_tests_that_there_are() -> None:
    for name in ("CONTRIBUTING.md", "README.md", "tests/README.md"):
        assert wrong_calls((CHECKOUT / name).read_text(encoding="utf-8")) == [], name


def test_a_wrong_call_is_noticed() -> None:
    assert wrong_calls("./tools/dev tset") != []
    assert wrong_calls("./tools/dev test -q tests/none") != []


def test_every_workflow_has_a_limit_of_time_and_of_what_it_may() -> None:
    for workflow in WORKFLOWS:
        read = parsed(workflow)
        assert read["permissions"] == {"contents": "read"}, workflow.name
        assert all("timeout-minutes" in job for job in read["jobs"].values()), workflow.name


def test_the_oldest_and_the_newest_python_are_tested() -> None:
    versions = re.findall(r"Python :: (3\.[0-9]+)", PROJECT)
    for workflow, job in (("test", "linux"), ("release", "try")):
        matrix = parsed(GITHUB / f"workflows/{workflow}.yml")["jobs"][job]["strategy"]["matrix"]
        assert matrix["python"] == [versions[0], versions[-1]], workflow


def test_a_report_of_a_bug_asks_what_doctor_says() -> None:
    labels = [
        item["attributes"].get("label", "")
        for item in parsed(GITHUB / "ISSUE_TEMPLATE/bug.yml")["body"]
    ]
    assert any("b10-transfer doctor --json" in label for label in labels), labels


def test_a_commit_is_checked_by_what_check_runs() -> None:
    (local,) = parsed(CHECKOUT / ".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local", "a hook from elsewhere would be downloaded"
    for hook in local["hooks"]:
        assert f'step "{hook["name"]}"' in DEV


def test_each_file_that_a_recipe_names_is_there() -> None:
    _, _, recipes = GUIDE.partition("\n## Recipes\n")
    named = re.findall(r"^[0-9]\. `([^`]+\.(?:py|md)|[^`]+/)`", recipes, re.MULTILINE)
    assert len(named) > 20
    missing = [name for name in named if "N" not in name and not (CHECKOUT / name).exists()]
    assert missing == []
