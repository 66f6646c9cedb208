"""The repository keeps its own rules: who imports whom, and documents that say what is so."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import fields
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

import packager
from native.build import TARGETS
from packager import errors
from packager.cli.commands import packager as command_line
from packager.device.recipe_template import shipped_template
from packager.portal.settings import PortalSettings
from packager.settings import TEMPLATE_NAMES, Settings
from packager.stores.s3_options import S3Options
from tests import exports, models
from tests.greengrass_api import greengrass_api, sha256_in_s3

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
ROOMS = ("telemetry", "packager", "dashboards", "infra")
PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# -- imports ----------------------------------------------------------------------------------------------------------

WHERE = {
    "boto3": ("packager/stores/", "packager/portal/", "packager/publishing/"),
    "botocore": ("packager/stores/", "packager/portal/", "packager/publishing/", "telemetry/engine/otlp.py"),
    "click": ("packager/cli/",),
    "rich": ("packager/cli/progress.py",),
    "aws_cdk": ("infra/",),
    "vl_convert": ("dashboards/preview/picture.py", "dashboards/preview/vega.py"),
}
"""The only modules that may know a library."""

LATE = {"boto3", "botocore"}
"""Imported only inside the functions that need them: they cost start-up time."""


def imports(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Line, imported module and whether it is imported late, for every import that runs."""

    def walk(node: ast.AST, *, late: bool) -> Iterator[tuple[int, str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((child.lineno, each.name, late) for each in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}:{child.lineno} imports relatively"
                yield from ((child.lineno, f"{child.module}.{each.name}", late) for each in child.names)
            elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                yield from walk(ast.Module(child.orelse, []), late=late)
            else:
                yield from walk(child, late=late or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)))

    yield from walk(ast.parse(path.read_text()), late=False)


def every_import() -> Iterator[tuple[str, str, str, bool]]:
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            yield from ((name, f"{name}:{line}", module, late) for line, module, late in imports(path))


def test_each_library_is_known_only_where_it_is_spoken_and_imported_late_where_that_costs():
    wrong = [
        f"{line} imports {module}"
        for name, line, module, late in every_import()
        if (top := module.split(".")[0]) in WHERE and (not name.startswith(WHERE[top]) or (top in LATE and not late))
    ]
    assert wrong == []


def test_importing_the_library_imports_no_aws_and_no_extra():
    heavy = {"boto3", "botocore", "click", "rich", "aws_cdk", "vl_convert", "aiohttp"}
    code = f"import sys, packager, telemetry, dashboards.cli; print(*sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


NOT_FOR_LOCAL_FILES = {
    *("boto3", "botocore", "opentelemetry", "structlog", "aws_embedded_metrics", "rich", "decimal", "difflib"),
    *("tempfile", "secrets", "zipfile", "telemetry.engine.configure", "telemetry.engine.waterfall"),
    *("packager.cli.look_commands", "packager.cli.compare_commands", "packager.cli.publish_commands"),
    *("packager.cli.recipe_commands", "packager.device.component_zip", "packager.device.recipe"),
    *("packager.limits.staging", "packager.stores.collection", "packager.stores.containers", "packager.stores.s3"),
    "packager.stores.zip_directory",
}


def test_a_package_of_local_files_loads_nothing_that_only_others_need(tmp_path):
    code = "import sys; from packager.cli.main import main\ntry: main()\nfinally: print(*sys.modules)"
    command = [
        sys.executable,
        "-c",
        code,
        "package",
        "--quiet",
        "--trained",
        models.trained(tmp_path / "trained.tar.gz"),
    ]
    command += ["--compiled", f"jetson-xavier={models.neo(tmp_path / 'compiled.tar.gz')}", "--output", tmp_path / "out"]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "packager.packaging" in loaded
    assert NOT_FOR_LOCAL_FILES & {*loaded} == set()


# -- documents --------------------------------------------------------------------------------------------------------


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def reader(tmp_path, s3_server, monkeypatch) -> Iterator[Path]:
    """Where somebody who tries the documents stands: the files and the bucket that these speak of."""
    models.trained(tmp_path / "model.tar.gz")
    models.neo(tmp_path / "compiled-jetson.tar.gz", seed="jetson")
    models.neo(tmp_path / "compiled-x86.tar.gz", seed="x86", machine=models.X86_64)
    models.onnx_export(tmp_path / "compiled-onnx.tar.gz")
    models.imported_onnx(tmp_path / "imported-onnx.tar.gz")
    artifacts = list(tmp_path.iterdir())
    exports.write_all(tmp_path)
    client = s3_server.client()
    client.create_bucket(Bucket="my-models")
    for path in artifacts:
        client.upload_file(str(path), "my-models", path.name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint_url)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    with greengrass_api(digest_of=sha256_in_s3(client)) as api:
        monkeypatch.setenv("AWS_ENDPOINT_URL_GREENGRASSV2", api.endpoint_url)
        yield tmp_path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_documented_command_and_program_runs(page, request):
    commands = [block for block in blocks(page, "sh") if re.search(r"^\w*=?\$?\(?packager ", block, re.MULTILINE)]
    programs = blocks(page, "python") if page.name in {"README.md", "library.md", "models.md"} else []
    if not commands and not programs:
        return
    request.getfixturevalue("reader")
    for command in commands:
        if re.search(r"packager (check|diff)", command):
            prepare_one_component()
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    for tree in blocks(page, "tree"):
        (made,) = Path("for-device").rglob("*.zip")
        with zipfile.ZipFile(made) as component:
            assert component.namelist() == tree.split()
            assert programs_of_recipes() <= set(component.namelist())
    names: dict[str, object] = {"packager": packager}
    for program in programs:
        exec(compile(program, str(page), "exec"), names)  # noqa: S102  our own documents


def programs_of_recipes() -> set[str]:
    """What the recipes that a page makes would start on the device."""
    recipes = [yaml.safe_load(path.read_text()) for path in Path("for-device").rglob("*.yaml")]
    configured = [each.get("ComponentConfiguration", {}).get("DefaultConfiguration", {}) for each in recipes]
    return {each["Program"] for each in configured if "Program" in each}


def prepare_one_component() -> None:
    """A reader has one component or names one; a pattern that finds several is not what the page means."""
    for path in Path("components").rglob("*.zip"):
        path.unlink()
    packager.package("model.tar.gz", {"jetson-xavier": "compiled-jetson.tar.gz"}, "components")


def test_every_documented_make_target_and_console_script_is_there():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"\bmake ([a-z]+)\b(?=`|$)", page.read_text(), re.MULTILINE)}
    assert {"demo", "test"} <= named <= targets
    scripts = {each.name: each for each in entry_points(group="console_scripts") if each.name in PROJECT["scripts"]}
    assert scripts.keys() == PROJECT["scripts"].keys()
    assert all(callable(each.load()) for each in scripts.values())


def test_every_command_and_option_is_documented_and_no_other():
    page = (ROOT / "docs" / "command-line.md").read_text()
    sections = dict(re.findall(r"^## packager ([\w-]+)\n(.*?)(?=^## |\Z)", page, flags=re.MULTILINE | re.DOTALL))
    documented = {
        name: {
            option
            for row in re.findall(r"^\| (`--.*?) \|", text, re.MULTILINE)
            for option in re.findall(r"--[a-z-]+", row)
        }
        for name, text in sections.items()
    }
    there = {
        name: {
            option
            for each in command_line.get_command(None, name).params
            for option in each.opts
            if option.startswith("--")
        }
        for name in command_line.list_commands(None)
    }
    assert documented == there


@pytest.mark.parametrize("settings", [Settings, PortalSettings, S3Options], ids=lambda each: each.__name__)
def test_every_setting_is_documented_with_its_default_and_meaning(settings):
    page = (ROOT / "docs" / "settings.md").read_text()
    expected = "\n".join(setting_row(each) for each in fields(settings))
    assert expected in page, f"docs/settings.md should hold:\n{expected}"


def setting_row(setting) -> str:
    default = setting.default
    shown = str(default).lower() if isinstance(default, bool) else str(default)
    return f"| `{setting.metadata['variable']}` | {shown} | {setting.metadata['meaning']} |"


def test_every_error_is_documented():
    page = (ROOT / "docs" / "library.md").read_text()
    assert [name for name in packager.__all__ if name.endswith("Error") and f"`{name}`" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_between_documents_leads_somewhere(page):
    for link in re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text()):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            heads = re.findall(r"^#+ (.*)$", target.read_text(), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-") for head in heads}, link


def test_the_changelog_speaks_of_this_version():
    assert f"\n## [{PROJECT['version']}]" in (ROOT / "CHANGELOG.md").read_text()


# -- what is shipped --------------------------------------------------------------------------------------------------


def test_the_wheel_holds_the_rooms_with_their_types_and_no_tests(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.iterdir()
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        templates = {name: packed.read(f"packager/device/templates/{name}.yaml") for name in TEMPLATE_NAMES}
    shipped = [room for room in ROOMS if room != "infra"]
    assert [f"{room}/py.typed" for room in shipped if f"{room}/py.typed" not in names] == []
    assert {name.split("/")[0] for name in names if not name.split("/")[0].endswith(".dist-info")} == set(shipped)
    assert {f"packager/core/native-{platform}.so" for platform in TARGETS} <= set(names)
    assert templates == {name: shipped_template(name) for name in TEMPLATE_NAMES}
    assert {"packager/report/assets/run.html", "packager/report/assets/run.css"} <= set(names)


def test_no_file_speaks_of_the_machine_it_was_written_on():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    somewhere = re.compile(r"(?<![\w.:/{}-])/(?:home|root|Users|work|mnt)/[\w.-]+")
    wrong = [
        f"{name}:{number} {found[0]}"
        for name in listed
        if (ROOT / name).is_file() and not name.endswith(".lock")
        for number, line in enumerate((ROOT / name).read_text(errors="replace").splitlines(), start=1)
        if (found := somewhere.search(line))
    ]
    assert wrong == []


def test_the_demo_runs_on_a_small_model_and_again_and_leaves_what_it_says(tmp_path):
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "tests.demo", "--mib", "1"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "A device would take this component." in done.stdout
        left = sorted(path.name for path in (tmp_path / "demo-output").iterdir())
        assert len([name for name in left if name.endswith("_greengrass_model_component.zip")]) == 3
        assert {"result.json", "telemetry", "run.html", "overview.html", "inputs"} <= set(left)
        assert done.stdout.rstrip().endswith((tmp_path / "demo-output" / "run.html").as_uri())
    proposed = [line.strip() for line in done.stdout.splitlines() if line.startswith("  ") and "bin/packager" in line]
    assert len(proposed) >= 3
    for command in proposed:
        again = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
        differ = " diff " in command  # two of the components
        assert again.returncode == int(differ), command + again.stdout + again.stderr


def test_every_public_name_of_the_library_is_there_and_none_but_the_errors_is_imported_before_its_use():
    declared = ast.walk(ast.parse(Path(packager.__file__).read_text()))
    assert sorted(packager.__all__) == sorted(
        each.asname for node in declared if isinstance(node, ast.ImportFrom) for each in node.names if each.asname
    )
    assert all(getattr(packager, name) is not None for name in packager.__all__)
    assert {name for name in vars(errors) if name.endswith("Error")} <= set(packager.__all__)
    code = "import sys, packager; print(*[name for name in sys.modules if name.startswith('packager.')])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "packager.errors\n"


def test_what_the_docs_and_messages_say_to_install_is_there_for_somebody_with_a_clone():
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
    sources = [path for name in ("packager", "telemetry", "dashboards") for path in (ROOT / name).rglob("*.py")]
    for path in (*pages, *sources):
        text = path.read_text()
        assert not re.search(r"edge[-_]model[-_]packager\[|pip install edge", text), path  # no index has it
        named = re.findall(r"pip install '?\.\[([a-z,]+)\]", text) + re.findall(r"\bextra `([a-z]+)`", text)
        assert {each for names in named for each in names.split(",")} <= extras, path
        for line in re.findall(r"pip install (?:-\S+ )*(\S+)", text):
            assert line.strip("`'\"").startswith((".", "--", "git+")) or line.endswith((".lock", ".txt")), (path, line)
