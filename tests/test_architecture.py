"""The rules of the house: what imports what, and how large things may grow."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import trilho
from tests.lab.servers import ROOT
from trilho.settings import Settings

SOURCE = ROOT / "src"
LAYERS = (
    "cli", "testing", "http", "dashboard", "app", "worker", "dispatcher", "sagas", "jobs", "events", "timeline",
    "processes", "db", "embedded", "settings",
)  # fmt: skip
STRANGERS = {"jobs", "events"}  # side by side: neither knows of the other
FOUNDATION = {"errors", "faults", "log", "trace"}
NEED_AN_EXTRA = {"trilho.embedded.leftovers"}  # psutil: who only looks whether a folder is in use does without
MODULES = sorted(SOURCE.rglob("*.py"))
MOST_LINES, MOST_FUNCTION_LINES, MOST_ARGUMENTS = 500, 60, 8


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in MODULES:
        yield path, ast.parse(path.read_text())


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def place(path: Path, node: ast.AST | None = None) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module]
    return []


def for_types_only(tree: ast.Module) -> set[ast.AST]:
    """What stands under `if TYPE_CHECKING`."""
    blocks = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    return {inner for block in blocks for inner in ast.walk(block)}


def layer_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "trilho" and len(parts) > 1 else None


# ---- what imports what


def test_imports_go_downwards_only() -> None:
    wrong = []
    for path, tree in trees():
        mine = layer_of(name_of(path))
        if mine is None:
            continue
        types = for_types_only(tree)
        for node in ast.walk(tree):
            for module in imported(node) if node not in types else ():
                theirs = layer_of(module)
                if theirs is not None and not may_import(mine, theirs):
                    wrong.append(f"{place(path, node)}: {mine} imports {theirs}")
    assert wrong == []


def may_import(mine: str, theirs: str) -> bool:
    if mine == theirs or theirs in FOUNDATION:
        return True
    if mine in FOUNDATION or mine not in LAYERS or theirs not in LAYERS or {mine, theirs} == STRANGERS:
        return False
    return LAYERS.index(mine) < LAYERS.index(theirs)


def test_every_part_has_its_place_in_the_layers() -> None:
    parts = {path.stem if path.is_file() else path.name for path in (SOURCE / "trilho").iterdir()}
    assert {part for part in parts if not part.startswith(("_", "py"))} == {*LAYERS, *FOUNDATION}


def test_import_contract_is_kept() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_imported_inside_functions_but_optional_extras() -> None:
    wrong = []
    for path, tree in trees():
        for function in functions(tree):
            extras = guarded(function)
            for node in ast.walk(function):
                modules = [module for module in imported(node) if node not in extras and module not in NEED_AN_EXTRA]
                wrong += [f"{place(path, node)}: {module}" for module in modules]
    assert wrong == []


def guarded(function: ast.AST) -> set[ast.AST]:
    """What stands under `try … except ImportError`, as an extra that may be missing has to."""
    blocks = [node for node in ast.walk(function) if isinstance(node, ast.Try)]
    caught = [
        block
        for block in blocks
        if any(re.search("ImportError|ModuleNotFoundError", ast.dump(h)) for h in block.handlers)
    ]
    return {inner for block in caught for statement in block.body for inner in ast.walk(statement)}


def test_shop_uses_public_names_only() -> None:
    allowed = {"trilho", "trilho.http", "trilho.testing"}
    wrong = [
        f"{place(path, node)}: {module}"
        for path, tree in trees()
        if name_of(path).startswith("loja")
        for node in ast.walk(tree)
        for module in imported(node)
        if module.startswith("trilho") and module not in allowed
    ]
    assert wrong == []


def test_environment_is_read_by_the_settings_only() -> None:
    """Whoever starts other programs may hand the environment on as a whole, and look for programs in PATH."""
    reads = re.compile(r"""os\.(?:environ\.get|getenv)\(["'](?!PATH)|os\.environ\[[^\]]+\](?! =)""")
    readers = {name_of(path) for path in MODULES if reads.search(path.read_text())}
    assert {name for name in readers if name.startswith("trilho")} == set()


# ---- sizes


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def test_no_file_is_too_long() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES} == {}


def test_no_function_is_too_long() -> None:
    wrong = {}
    for path, tree in trees():
        for function in functions(tree):
            lines = (function.end_lineno or function.lineno) - function.lineno + 1
            if lines > MOST_FUNCTION_LINES:
                wrong[f"{place(path, function)} {function.name}"] = lines
    assert wrong == {}


def test_no_signature_is_too_wide() -> None:
    wrong = {}
    for path, tree in trees():
        commands = "typer" in path.read_text()  # a command's parameters are the options of the program
        for function in functions(tree):
            count = len([a for a in (*function.args.posonlyargs, *function.args.args) if a.arg not in {"self", "cls"}])
            count += len(function.args.kwonlyargs)
            if count > MOST_ARGUMENTS and not commands:
                wrong[f"{place(path, function)} {function.name}"] = count
    assert wrong == {}


# ---- public names


def test_public_names_are_there_and_sorted() -> None:
    assert trilho.__all__ == sorted(trilho.__all__)
    assert all(hasattr(trilho, name) for name in trilho.__all__)


def test_public_names_are_those_of_the_contract() -> None:
    promised = {
        "Trilho", "Task", "Tx", "AsyncTx", "Job", "JobFilter", "JobPage", "Attempt", "Result", "QueueStats",
        "QueueDepth", "WorkerStats", "TrilhoError", "ConfigurationError", "UnknownJob", "DuplicateJob",
        "JobStateError", "PayloadTooLarge", "TransactionError", "ClaimLost", "Interrupted", "KeyHeld", "Unique",
        "Event", "Published", "Retry", "ResetTarget", "EventSchemaError", "UnknownTopic", "UnknownGroup",
        "Saga", "SagaHandle", "SagaRun", "SagaStep", "SagaFilter", "SagaPage", "IdempotencyKey", "PermanentError",
        "SagaTimeout", "SagaFailed", "SagaStuck", "SagaLimit", "SagaStateError", "UnknownSaga", "DuplicateSaga",
        "GroupActive",
    }  # fmt: skip
    assert set(trilho.__all__) == promised


def test_errors_are_public_and_say_what_happened() -> None:
    for name in trilho.__all__:
        thing = getattr(trilho, name)
        if isinstance(thing, type) and issubclass(thing, Exception):
            assert issubclass(thing, trilho.TrilhoError)
            assert thing.__doc__
            assert thing.__doc__.endswith(".")


def test_package_is_typed() -> None:
    assert (SOURCE / "trilho" / "py.typed").exists()


# ---- documentation


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    pages = [*ROOT.glob("docs/**/*.md"), ROOT / "README.md"]
    text = "\n".join(page.read_text() for page in pages if page.exists())
    if not text.strip():
        pytest.skip("there is no documentation yet")
    assert f"TRILHO_{name.upper()}" in text


def test_every_state_is_explained_in_the_state_machine() -> None:
    header = (SOURCE / "trilho" / "jobs" / "jobs.sql").read_text().split("-- name:")[0]
    states = {"PENDING", "STARTED", "PROCESSING", "RETRY", "SUCCESS", "FAILURE", "REVOKED"}
    assert {state for state in states if state not in header} == set()


def test_repository_names_no_machine_and_no_host() -> None:
    """No absolute paths of somebody's machine, and no package hosts."""
    pattern = re.compile(r"(?<![\w.])/(?:home|Users|root|work)/|pypi\.org|files\.pythonhosted|npmjs")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    wrong = [
        f"{name}: {found.group()}"
        for name in listed
        if Path(name).suffix in {".py", ".sql", ".md", ".toml", ".yaml", ".yml", ".txt", ".lock", ".cfg"}
        and name != "tests/test_architecture.py"
        and (ROOT / name).exists()
        and (found := pattern.search((ROOT / name).read_text(errors="replace")))
    ]
    assert wrong == []
