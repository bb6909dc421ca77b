"""An installation of Python of the tests' own, in which they can install what functions shall find."""

import pathlib
import shutil
import subprocess
import sys
import sysconfig

from .functions import sdk_files

RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
_WITHOUT = ("__pycache__", "test", "tests", "site-packages", "dist-packages", "idlelib", "ensurepip", "tkinter", "config-*", "*.a")


class Interpreter:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.program = self.folder / "bin" / RUNTIME
        self.modules = self.folder / "lib" / RUNTIME / "site-packages"
        self.program.parent.mkdir(parents=True)
        base = pathlib.Path(sys.base_prefix)
        shutil.copy2(pathlib.Path(sys.executable).resolve(), self.program)
        for kind in ("stdlib", "platstdlib"):
            source = sysconfig.get_path(kind, vars={"base": str(base), "platbase": str(base)})
            target = self.folder / "lib" / RUNTIME
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(*_WITHOUT), dirs_exist_ok=True)
        for library in (base / "lib").glob("libpython3*.so*"):
            shutil.copy2(library, self.folder / "lib")
        self.modules.mkdir(exist_ok=True)

    def install_sdk(self):
        for name, content in sdk_files().items():
            path = self.modules / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.compile()
        return self

    def compile(self):
        """Functions cannot write beside it what the interpreter makes of it."""
        subprocess.run([str(self.program), "-m", "compileall", "-q", str(self.folder / "lib")], check=False)

    def setting(self):
        return f'[runtimes.interpreters]\n"{RUNTIME}" = "{self.program}"\n'
