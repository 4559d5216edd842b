"""New plugins: an installable distribution that passes its own tests as generated."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template

from neuron_antagonism.errors import UsageError, unknown

KITS = {"scorer": "ScorerTests", "task": "TaskTests", "intervention": "InterventionTests"}
USES = {
    "scorer": "neuron-antagonism run --scorer ace --scorer {}",
    "task": "neuron-antagonism run --task {} --dry-run",
    "intervention": "neuron-antagonism run --weaken {}",
}


def scaffold(kind: str, name: str, out: Path) -> list[Path]:
    """Write a distribution with one plugin into a new directory.

    Args:
        kind: "scorer", "task" or "intervention".
        name: the plugin's name: lowercase letters, digits, - and _, a letter first.
        out: the directory to make.

    Returns:
        The files written.

    Raises:
        UsageError: an unknown kind, a name that can't be a plugin's, a directory that exists or can't be written.
    """
    if kind not in KITS:
        raise UsageError(unknown("kind", kind, KITS))
    # also a module's and a distribution's name, hence narrower than what plugins may be called
    if not re.fullmatch(r"[a-z][a-z0-9_-]*[a-z0-9]", name) or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} can't name a new {kind}; "
            "accepted: at least two lowercase letters, digits, - or _, a letter first"
        )
    module = "neuron_antagonism_" + name.replace("-", "_")
    values = {
        "kind": kind,
        "name": name,
        "module": module,
        "class_name": "".join(part.capitalize() for part in re.split("[-_]", name)),
        "title": name.replace("-", " ").replace("_", " ").capitalize(),
        "kit": KITS[kind],
        "use": USES[kind].format(name),
    }
    templates = {
        "pyproject.toml": "pyproject.toml.txt",
        "README.md": "README.md.txt",
        f"{module}.py": f"{kind}.py.txt",
        f"tests/test_{name.replace('-', '_')}.py": "test.py.txt",
    }
    try:
        out.mkdir(parents=True)
        written = []
        for path, template in templates.items():
            text = (files(__package__) / "templates" / template).read_text(encoding="utf-8")
            file = out / path
            file.parent.mkdir(exist_ok=True)
            file.write_text(Template(text).substitute(values), encoding="utf-8")
            written.append(file)
    except FileExistsError:
        raise UsageError(f"{out} exists already; accepted: --out with a directory that does not") from None
    except OSError as error:
        raise UsageError(f"can't write to {out}: {error.strerror}; accepted: a directory that can be written") from None
    return written
