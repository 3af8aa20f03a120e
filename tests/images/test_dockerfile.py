"""What the Dockerfile says, without building it; `make image-test` builds and runs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent.parent
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
TARGETS = ("transformer", "predictor-cpu", "predictor-tensorrt", "builder")


@dataclass(frozen=True, slots=True)
class Stage:
    """A FROM and the instructions below it, as (name, rest of the line)."""

    base: str
    instructions: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        return [rest for instruction, rest in self.instructions if instruction == name]


def _read() -> tuple[dict[str, str], dict[str, Stage]]:
    """Arguments before the first FROM, and the stages by name."""
    lines = [line for line in TEXT.splitlines() if line.strip() and not line.startswith("#")]
    instructions = [line.split(None, 1) for line in re.sub(r"\s*\\\n\s*", " ", "\n".join(lines)).splitlines()]
    first = next(index for index, (name, _) in enumerate(instructions) if name == "FROM")
    arguments = dict(rest.split("=", 1) for _, rest in instructions[:first])
    stages: dict[str, tuple[str, list[tuple[str, str]]]] = {}
    for name, rest in instructions[first:]:
        if name == "FROM":
            base, _, stage = rest.split()
            stages[stage] = (base, [])
        else:
            stages[stage][1].append((name, rest))
    return arguments, {name: Stage(base, tuple(below)) for name, (base, below) in stages.items()}


ARGUMENTS, STAGES = _read()
RUNTIME = ("runtime", *TARGETS)
"""The stages whose layers the images have."""


def _copied(stage: str) -> list[str]:
    """Sources of the COPYs from the checkout."""
    return [
        source
        for rest in STAGES[stage].all("COPY")
        if not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]


def _list_of(name: str) -> list[str]:
    """A list in pyproject.toml, the first of that name."""
    found = re.search(rf"^{name} = \[(.*?)\]$", PYPROJECT, re.MULTILINE | re.DOTALL)
    assert found, name
    return re.findall(r'"([^"]+)"', found[1])


def test_bases_are_build_arguments_or_stages() -> None:
    earlier: set[str] = set()
    for name, stage in STAGES.items():
        argument = re.fullmatch(r"\$\{(\w+)\}", stage.base)
        assert (argument and argument[1] in ARGUMENTS) or stage.base in earlier, name
        earlier.add(name)


def test_images_have_what_the_runtime_stage_has_and_run_as_its_user() -> None:
    (user,) = STAGES["runtime"].all("USER")
    uid, gid = map(int, user.split(":"))
    assert uid > 0
    assert gid > 0
    for target in TARGETS:
        assert STAGES[target].base == "runtime"
        assert not STAGES[target].all("USER")


def test_the_user_is_the_one_of_the_manifests() -> None:
    (user,) = STAGES["runtime"].all("USER")
    for path in (ROOT / "inferenceservices" / "base").glob("inferenceservice.yaml"):
        named = re.findall(r"runAs(?:User|Group): (\d+)", path.read_text(encoding="utf-8"))
        assert set(named) == set(user.split(":"))


@pytest.mark.parametrize("target", ["transformer", "predictor-cpu", "predictor-tensorrt"])
def test_images_start_what_the_manifests_start(target: str) -> None:
    (entrypoint,) = STAGES[target].all("ENTRYPOINT")
    manifest = yaml.safe_load((ROOT / "inferenceservices" / "base" / "inferenceservice.yaml").read_text())
    (container,) = manifest["spec"][target.split("-")[0]]["containers"]
    assert json.loads(entrypoint) == container["command"]
    assert (ROOT / container["command"][-1] / "__main__.py").exists()


def test_images_are_distinguished_by_labels() -> None:
    titles = [re.findall(r'image\.title="([^"]+)"', STAGES[target].all("LABEL")[0]) for target in TARGETS]
    assert titles == [[f"yiwen-{target}"] for target in TARGETS]
    (common,) = STAGES["runtime"].all("LABEL")
    assert re.findall(r"image\.(\w+)=", common) == ["vendor", "licenses", "version", "revision"]


def test_nothing_is_installed_in_the_stages_that_images_have() -> None:
    commands = [command for stage in RUNTIME for command in STAGES[stage].all("RUN")]
    assert all(command.startswith("groupadd") for command in commands)
    for target in TARGETS:
        assert all(rest.startswith("--from=") for rest in STAGES[target].all("COPY"))


def test_what_is_installed_is_pruned() -> None:
    for name in ("transformer-dependencies", "predictor-dependencies", "builder-dependencies"):
        (command,) = STAGES[name].all("RUN")
        assert " && /build/prune-environment /opt/yiwen" in command


def test_kubernetes_does_the_probing() -> None:
    assert not re.search("HEALTHCHECK", TEXT, re.IGNORECASE)


def test_no_image_has_torch() -> None:
    assert not re.search(r"torch|'\.\[(dev|bench)", TEXT)
    for extra in ("transformer", "predictor", "cpu", "tensorrt", "dependencies"):
        assert not [
            name for name in _list_of(extra) if name.startswith(("torch", "transformers", "yiwen[dev"))
        ]


def test_every_source_exists_and_is_not_ignored() -> None:
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in let_in
    sources = {source for stage in STAGES for source in _copied(stage)}
    for source in sources:
        assert (ROOT / source).exists(), source
    assert {line[1:] for line in let_in if line.startswith("!")} == sources


def test_every_package_is_copied() -> None:
    top = {pattern.removesuffix("*") for pattern in _list_of("include")}
    assert {source for source in _copied("project") if (ROOT / source).is_dir()} == top


@pytest.mark.parametrize("name", ["transformer", "predictor", "builder"])
def test_dependencies_are_those_that_are_locked(name: str) -> None:
    (source,) = _copied(f"{name}-dependencies")
    assert source == f"requirements/{'cpu' if name == 'builder' else name}.txt"
    (command,) = STAGES[f"{name}-dependencies"].all("RUN")
    assert "--require-hashes -r requirements.txt" in command


def test_the_command_is_in_the_images_that_have_its_dependencies() -> None:
    copied = {target: STAGES[target].all("COPY")[-1] for target in TARGETS}
    assert {target for target, rest in copied.items() if rest == "--from=project /opt/yiwen /opt/yiwen"} == {
        "transformer",
        "builder",
    }


def test_tensorrt_is_pinned_to_what_the_project_allows() -> None:
    (argument,) = STAGES["tensorrt"].all("ARG")
    pinned = [Requirement(text) for text in argument.split("=", 1)[1].strip('"').split()]
    allowed = {Requirement(text).name: Requirement(text).specifier for text in _list_of("tensorrt")}
    assert {requirement.name for requirement in pinned} == set(allowed)
    for requirement in pinned:
        (specifier,) = requirement.specifier
        assert specifier.operator == "=="
        assert "*" not in specifier.version
        assert allowed[requirement.name].contains(specifier.version)


def test_a_change_of_the_code_leaves_the_other_layers_as_they_are() -> None:
    for target in TARGETS:
        *others, last = [rest.split()[0].removeprefix("--from=") for rest in STAGES[target].all("COPY")]
        assert last == "project"
        for stage in others:
            while stage in STAGES:
                assert all(source.startswith(("requirements/", "scripts/")) for source in _copied(stage))
                stage = re.sub(r"[${}]", "", STAGES[stage].base)
